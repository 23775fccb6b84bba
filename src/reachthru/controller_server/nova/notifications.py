"""Hears Nova's notifications on RabbitMQ, through oslo.messaging, in threads of its own.

The listener has a queue of its own (a pool), so that other listeners still get theirs. A pulse,
a message of ours to that same queue, comes round every second: what is heard of it says whether
the bus carries, and a missing one, that notifications may have been lost.
"""

import itertools
import logging
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from reachthru.bus.oslo.library import configuration, oslo_messaging
from reachthru.controller_server.nova.news import GarbledError, GroupNews, InstanceNews, read

PULSE_INTERVAL_S = 1.0
STRANGER_S = 60.0
EXCHANGE = "nova"
TOPICS = ("versioned_notifications", "notifications")
_PULSE = "reachthru.pulse"
_STOP_TIMEOUT_S = 5.0

_log = logging.getLogger(__name__)


class NotificationListener:
    """`on_news` and `on_pulse` (with the pulse's number) are called in a thread, one at a time.

    They may wait: what has not been taken stays in RabbitMQ.
    """

    def __init__(
        self,
        url: str,
        pool: str,
        on_news: Callable[[InstanceNews | GroupNews], None],
        on_pulse: Callable[[int], None],
    ) -> None:
        self._url = url
        # oslo.messaging makes a queue for what it sends, too, called "topic.priority": with
        # this name the pulse's queue is the pool's, and none is left that nobody reads.
        self._topic = pool
        self._pool = f"{pool}.info"
        self._on_news = on_news
        self._on_pulse = on_pulse
        self._life = uuid.uuid4().hex  # tells our pulses from those of an earlier life
        self._started_at = time.monotonic()
        self._complained = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="nova-notifications", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Blocks until the threads have ended, or can't be waited for any longer."""
        self._stopping.set()
        self._thread.join(_STOP_TIMEOUT_S)

    def info(self, *notification: Any) -> None:
        """oslo.messaging calls the method that is named as the notification's priority."""
        self._take("INFO", *notification)

    def warn(self, *notification: Any) -> None:
        self._take("WARN", *notification)

    def error(self, *notification: Any) -> None:
        self._take("ERROR", *notification)

    def critical(self, *notification: Any) -> None:
        self._take("CRITICAL", *notification)

    def _take(
        self,
        priority: str,
        context: Mapping[str, Any],
        _publisher_id: object,  # names the service that sent it, not always the instance's host
        event_type: object,
        payload: object,
        metadata: Mapping[str, Any],
    ) -> None:
        if event_type == _PULSE:
            self._take_pulse(payload)
            return
        try:
            news = read(context, event_type, payload, metadata.get("timestamp"), priority)
        except GarbledError as error:
            message_id = metadata.get("message_id")
            _log.warning("notification %s (%s) is skipped: %s", message_id, event_type, error)
            return
        if news is not None:
            self._on_news(news)

    def _take_pulse(self, payload: object) -> None:
        match payload:
            case {"life": self._life, "number": int(number)}:
                self._on_pulse(number)
            case {"life": str()} if not self._complained:
                # Those of an earlier life of ours are soon read; another controller goes on.
                if time.monotonic() - self._started_at > STRANGER_S:
                    self._complained = True
                    _log.error(
                        "another controller reads our queue %s of Nova's notifications, and each"
                        " hears only half: give each its own [nova] notifications_pool",
                        self._pool,
                    )

    def _run(self) -> None:
        # What becomes of the pulses is told by what is heard of them, and not each second.
        logging.getLogger("oslo_messaging.notify.messaging").setLevel(logging.CRITICAL)
        conf = configuration(
            EXCHANGE,
            # Back soon after the broker is: by default it may wait for half a minute between tries.
            rabbit_interval_max=2,
            # Bounded: what waits, waits in RabbitMQ.
            rabbit_qos_prefetch_count=100,
        )
        transport = oslo_messaging.get_notification_transport(conf, url=self._url)
        targets = [
            oslo_messaging.Target(topic=topic, exchange=EXCHANGE)
            for topic in (*TOPICS, self._topic)
        ]
        server = oslo_messaging.get_notification_listener(
            transport, targets, [self], executor="threading", pool=self._pool
        )
        # One worker keeps the order. Starting waits for the broker: not here.
        starter = threading.Thread(
            target=server.start, kwargs={"override_pool_size": 1}, daemon=True
        )
        starter.start()
        self._send_pulses(transport)
        starter.join(_STOP_TIMEOUT_S)
        if not starter.is_alive():
            server.stop()
            server.wait()
            transport.cleanup()

    def _send_pulses(self, transport: Any) -> None:
        notifier = oslo_messaging.Notifier(
            transport, self._pool, driver="messagingv2", topics=[self._topic], retry=0
        )
        for number in itertools.count(1):
            notifier.info({}, _PULSE, {"life": self._life, "number": number})
            if self._stopping.wait(PULSE_INTERVAL_S):
                return
