"""Whom the controller tells: one file a sink."""

from collections.abc import Callable

from reachthru.controller_server.settings import Settings
from reachthru.controller_server.sinks.base import Sink
from reachthru.controller_server.sinks.log import LogSink
from reachthru.controller_server.sinks.mqtt import MqttSink
from reachthru.controller_server.sinks.webhook import WebhookSink


def enabled_sinks(settings: Settings) -> list[Sink]:
    """The sinks that the settings name, in that order."""
    makers: dict[str, Callable[[Settings], Sink]] = {
        LogSink.name: lambda _settings: LogSink(),
        WebhookSink.name: lambda settings: WebhookSink(settings.webhook),
        MqttSink.name: lambda settings: MqttSink(settings.mqtt),
    }
    return [makers[name](settings) for name in settings.sinks]
