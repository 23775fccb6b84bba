"""Tells another service's topic, as oslo.messaging's notifications do, off the event loop."""

import asyncio
import uuid
from datetime import UTC, datetime
from functools import partial
from typing import Any

from reachthru.bus.base import BusUnavailableError
from reachthru.bus.oslo import reasons
from reachthru.bus.oslo.address import Address
from reachthru.bus.oslo.connection import in_thread
from reachthru.bus.oslo.library import oslo_messaging

PRIORITY = "INFO"
VERSION = 2.0  # of the envelope, as of the driver "messagingv2"


class TopicNotifier:
    """Connects when there is something to tell; any number of calls may be on their way.

    As oslo.messaging's own notifiers it makes the queue, which the topic's reader may not have
    made yet. Those only log what could not be sent (18.3); this one raises.
    """

    def __init__(self, address: Address, topic: str, publisher: str) -> None:
        self._address = address
        self._topic = topic
        self._publisher = publisher
        self._transport: Any = None
        self._opening = asyncio.Lock()

    async def notify(self, event_type: str, payload: object) -> None:
        """Returns when the broker has it. Raises `BusUnavailableError`, `DoorError`."""
        message = {
            "message_id": str(uuid.uuid4()),
            "publisher_id": self._publisher,
            "event_type": event_type,
            "priority": PRIORITY,
            "payload": payload,
            "timestamp": str(datetime.now(UTC).replace(tzinfo=None)),
        }
        async with self._opening:
            if self._transport is None:
                self._transport = await in_thread(self._address.transport, "notifier open")
        transport = self._transport
        try:
            await in_thread(partial(self._send, transport, message), "notifier")
        except asyncio.CancelledError:  # most of all: it took too long
            self._give_up(transport)
            raise
        except Exception as error:  # its own, kombu's, amqp's and ssl's all come through
            self._give_up(transport)
            raise BusUnavailableError(f"{self._address}: {reasons.of_error(error)}") from error

    async def close(self) -> None:
        """Its threads are left to themselves: they may wait for a broker."""
        if self._transport is not None:
            self._give_up(self._transport)

    def _send(self, transport: Any, message: dict[str, object]) -> None:
        target = oslo_messaging.Target(topic=f"{self._topic}.{PRIORITY.lower()}")
        transport._send_notification(target, {}, message, version=VERSION, retry=0)

    def _give_up(self, transport: Any) -> None:
        """After an error a transport never comes back (session.py says more); the next is new."""
        if self._transport is not transport:
            return
        self._transport = None
        self._address.use_next()
        in_thread(transport.cleanup, "notifier close").add_done_callback(
            lambda closed: closed.cancelled() or closed.exception()
        )
