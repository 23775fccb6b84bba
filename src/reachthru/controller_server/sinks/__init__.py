"""Whom the controller tells: one file a sink, which also says what its section may hold."""

from collections.abc import Sequence
from pathlib import Path

from oslo_config import cfg

from reachthru.controller_server.sinks.base import Sink
from reachthru.controller_server.sinks.log import LogSink
from reachthru.controller_server.sinks.mqtt import MqttSink
from reachthru.controller_server.sinks.webhook import WebhookSink
from reachthru.service import SettingsError

SINKS: dict[str, type[Sink]] = {sink.name: sink for sink in (LogSink, WebhookSink, MqttSink)}


def options() -> dict[str, Sequence[cfg.Opt]]:
    """The options of each sink that has some, by section."""
    return {f"sink_{name}": sink.OPTIONS for name, sink in SINKS.items() if sink.OPTIONS}


def configured(path: Path, conf: cfg.ConfigOpts) -> tuple[Sink, ...]:
    """The sinks that [sinks] enables, in that order, not yet open. Raises `SettingsError`."""
    names = conf.sinks.enabled
    for name in names:
        if name not in SINKS:
            raise SettingsError(
                f"{path}: [sinks] enabled = {','.join(names)}: no sink {name!r}; "
                f"allowed: {', '.join(SINKS)}"
            )
    if not names:
        raise SettingsError(f"{path}: [sinks] enabled: names no sink; allowed: {', '.join(SINKS)}")
    return tuple(SINKS[name].configured(path, conf) for name in dict.fromkeys(names))
