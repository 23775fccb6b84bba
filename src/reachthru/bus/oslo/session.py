"""One life of a connection to RabbitMQ through oslo.messaging, which blocks: all of it is threads.

A session is opened, carries, breaks once, and is thrown away whole. oslo.messaging would rather
keep it and try again for ever, and a sender that may not do so never comes back (18.3: "connection
already closed", long after the broker returned).

Senders are *lanes*, one thread each. What waits in a lane while a message is on its way goes out
together: a confirmation costs a disk write, however much it confirms.
"""

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from oslo_messaging._drivers.common import PURPOSE_LISTEN
from oslo_messaging.dispatcher import DispatcherBase
from oslo_messaging.notify.listener import NotificationServer

from reachthru.bus.doors import DoorError
from reachthru.bus.oslo import reasons
from reachthru.bus.oslo.library import oslo_messaging

# The exchange that every RabbitMQ has. Whoever publishes through oslo.messaging also declares the
# exchange, and needs the right to; this is the one that this right does not allow to delete.
EXCHANGE = "amq.topic"
PRIORITY = "info"  # oslo.messaging ends the routing keys of what it listens for with a priority

BATCH_LIMIT = 200  # messages that go out together, and
BATCH_LIMIT_BYTES = 256 * 1024
LANE_LIMIT = 10_000  # messages that wait to be sent
OFFER_LIMIT = 500  # ... when they may not wait long

_log = logging.getLogger(__name__)


class SessionError(Exception):
    """Why there is no connection; one line for the operator."""


class RefusedError(Exception):
    """The broker refuses this one message; the session goes on."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(reasons.of_error(error))
        self.of_rights = reasons.is_of_rights(error)


@dataclass(slots=True)
class Outgoing:
    """One message. With the same key and lane, they keep their order.

    The broker drops it after `ttl_s`. `done` is resolved on the event loop.
    """

    key: str
    payload: str
    ttl_s: float
    done: "asyncio.Future[None] | None" = None


@dataclass(frozen=True, slots=True)
class Source:
    """A queue, and the keys that it is bound to. Whoever uses the same queue shares it.

    `alive_key`: make it RabbitMQ's quorum queue. One that has lost its leader holds up whoever
    publishes to it, and so is only for what is worth it. What is published with this key comes to
    the queue and means nothing: does it take messages?

    `spare`: who has no right to it, as of an older release, goes on without.
    """

    queue: str
    keys: tuple[str, ...]
    alive_key: str | None = None
    spare: bool = False


class Session:
    """`receive` gets (key, payloads), and `on_refused` (key, why, how many), on the event loop.

    `broken` is resolved with the reason. `missing` are the spare sources that there is no right to,
    and why, once it is open.

    `make_transport` gets whether it is for a quorum queue. `replace` names queues to be deleted and
    made anew. `open` and `close` block: they are for threads; the rest is for the event loop.
    """

    def __init__(
        self,
        make_transport: Callable[[bool], Any],
        sources: Sequence[Source],
        lanes: int,
        receive: Callable[[str, object], None],
        on_refused: Callable[[str, RefusedError, int], None],
        *,
        replace: Collection[str] = (),
    ) -> None:
        self.broken: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.confirmed_at = time.monotonic()
        self.missing: dict[str, str] = {}
        self._loop = asyncio.get_running_loop()
        self._make_transport = make_transport
        self._transport: Any = None  # the one that sends
        self._sources = sources
        self._receive = receive
        self._on_refused = on_refused
        self._replace = replace
        self._opened = threading.Event()  # or given up
        self._closing = threading.Event()
        self._lanes = [_Lane(self, number) for number in range(lanes)]
        self._listeners: list[_Listener] = []

    def open(self, alive_key: str) -> None:
        """Connects; raises `SessionError`. `alive_key` is one that nobody listens to."""
        try:
            self._transport = self._make_transport(False)
            publish(self._transport, alive_key, [], ttl_s=1)
            for source in self._sources:
                if self._closing.is_set():
                    return
                self._listen(source)
            for lane in self._lanes:
                lane.start()
        except DoorError:
            raise
        except Exception as error:  # its own, kombu's, amqp's and ssl's all come through
            raise SessionError(reasons.of_error(error)) from error
        finally:
            self._opened.set()

    def _listen(self, source: Source) -> None:
        transport = self._make_transport(source.alive_key is not None)
        if source.queue in self._replace:
            delete_queue(transport, source.queue)
        listener = _Listener(transport, source, self._take)
        try:
            listener.start()
        except Exception as error:
            if not (source.spare and reasons.is_of_rights(error)):
                raise
            self.missing[source.queue] = reasons.of_error(error)
            transport.cleanup()
        else:
            self._listeners.append(listener)

    def close(self) -> None:
        """Takes as long as what is on its way takes to fail."""
        self._closing.set()
        self._opened.wait()
        for lane in self._lanes:
            lane.stop()
        for listener in self._listeners:
            listener.stop()
            listener.wait()
        if self._transport is not None:
            self._transport.cleanup()

    def put(self, outgoing: Outgoing, lane: int) -> bool:
        """False: too many wait already."""
        waiting = self._lanes[lane].waiting
        limit = LANE_LIMIT if outgoing.done is not None else OFFER_LIMIT
        if waiting.qsize() >= limit:
            return False
        waiting.put(outgoing)
        return True

    def fail(self, reason: str) -> None:
        if not self.broken.done():
            self.broken.set_result(reason)

    # --- In threads ---------------------------------------------------------------------------

    def carry(self, batch: Iterable[Outgoing]) -> None:
        """Sends it, and resolves who waits. Raises `SessionError`, with nobody resolved."""
        for key, together in bundles(batch):
            payloads = [outgoing.payload for outgoing in together if outgoing.payload]
            error: RefusedError | None = None
            try:
                publish(self._transport, key, payloads, together[0].ttl_s)
            except Exception as failure:
                if not reasons.is_of_the_message(failure):
                    raise SessionError(reasons.of_error(failure)) from failure
                error = RefusedError(failure)
            self.confirmed_at = time.monotonic()
            # Waking the event loop costs as much as the rest; nobody waits for what was offered.
            if error is not None or any(outgoing.done is not None for outgoing in together):
                self._loop.call_soon_threadsafe(self._settle, key, together, error)

    def report_failure(self, reason: str) -> None:
        self._loop.call_soon_threadsafe(self.fail, reason)

    def _take(self, key: str, payloads: object) -> bool:
        """Hands it to the event loop, and waits until it is there; more waits in RabbitMQ.

        False: it goes back there, for whoever else shares the queue.
        """
        if self._closing.is_set():
            return False
        handed = threading.Event()

        def receive() -> None:
            try:
                self._receive(key, payloads)
            finally:
                handed.set()

        self._loop.call_soon_threadsafe(receive)
        while not handed.wait(1.0):
            if self._closing.is_set():
                return False
        return True

    # --- On the event loop --------------------------------------------------------------------

    def _settle(self, key: str, together: list[Outgoing], error: RefusedError | None) -> None:
        if error is not None:
            self._on_refused(key, error, len(together))
        for outgoing in together:
            if outgoing.done is None or outgoing.done.done():  # it was given up
                continue
            if error is None:
                outgoing.done.set_result(None)
            else:
                outgoing.done.set_exception(error)


class _Lane:
    def __init__(self, session: Session, number: int) -> None:
        self.waiting: queue.SimpleQueue[Outgoing | None] = queue.SimpleQueue()
        self._session = session
        self._thread = threading.Thread(target=self._run, name=f"rabbit lane {number}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Until what it is sending has arrived, or failed; the rest is dropped."""
        self.waiting.put(None)
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        try:
            while batch := self._batch():
                self._session.carry(batch)
        except SessionError as error:
            self._tell(str(error))
        except RuntimeError:  # the event loop is closed
            return

    def _tell(self, reason: str) -> None:
        try:
            self._session.report_failure(reason)
        except RuntimeError:
            return

    def _batch(self) -> list[Outgoing]:
        """What waits, once something does; nothing: it is over."""
        batch: list[Outgoing] = []
        outgoing = self.waiting.get()
        while outgoing is not None:
            batch.append(outgoing)
            if len(batch) == BATCH_LIMIT:
                break
            try:
                outgoing = self.waiting.get_nowait()
            except queue.Empty:
                break
        return [] if outgoing is None else batch


class _Dispatcher(DispatcherBase):  # type: ignore[misc]  # oslo.messaging has no types
    supported_priorities = (PRIORITY,)

    def __init__(self, take: Callable[[str, object], bool]) -> None:
        self._take = take

    def dispatch(self, incoming: Any) -> Any:
        result = oslo_messaging.NotificationResult
        try:
            taken = self._take(routing_key(incoming), incoming.message.get("messages"))
        except RuntimeError:  # the event loop is closed
            taken = False
        return result.HANDLED if taken else result.REQUEUE


class _Listener(NotificationServer):  # type: ignore[misc]  # oslo.messaging has no types
    """oslo.messaging's listener for notifications: of all its ends the one that names its queue,
    makes no other, and acknowledges a message after it was taken."""

    def __init__(self, transport: Any, source: Source, take: Callable[[str, object], bool]) -> None:
        targets = [oslo_messaging.Target(exchange=EXCHANGE, topic=key) for key in source.keys]
        dispatcher = _Dispatcher(take)
        super().__init__(transport, targets, dispatcher, executor="threading", pool=source.queue)

    def _on_incoming(self, incoming: Any) -> None:
        """In the thread that reads, in order: a worker would be one more wake-up a message."""
        self._process_incoming(incoming)


def publish(transport: Any, key: str, payloads: list[str], ttl_s: float) -> None:
    """Returns when the broker has it. Raises whatever oslo.messaging, kombu, amqp and ssl do.

    This is what `RPCClient.cast` calls: it has no time to live, and insists on options that only
    the process's `cfg.CONF` has.
    """
    target = oslo_messaging.Target(exchange=EXCHANGE, topic=f"{key}.{PRIORITY}")
    transport._send(target, {}, {"messages": payloads}, timeout=ttl_s, retry=0)


def delete_queue(transport: Any, queue: str) -> None:
    """With what is in it; RabbitMQ needs 5 s for one without a leader. Raises as `publish` does.

    oslo.messaging deletes no queue: this is kombu's channel, inside its own connection (of the kind
    that it does not read from another thread).
    """
    with transport._driver._get_connection(PURPOSE_LISTEN) as connection:
        connection.connection.channel.queue_delete(queue)


def routing_key(incoming: Any) -> str:
    """What its sender published it with, as the broker allowed it; without the priority.

    Not so, if the broker itself published it anew: whoever owns a queue may have what it drops
    (dead letters) published with any key at all, and nobody's rights are asked. Such a message
    gets a key that nobody listens to.

    oslo.messaging shows all this nowhere: this is kombu's message, inside its own.
    """
    message = incoming.message._raw_message
    key: str = message.delivery_info["routing_key"]
    if "x-death" in message.headers:
        return f"dead letter as {key}"
    return key.removesuffix(f".{PRIORITY}")


def bundles(batch: Iterable[Outgoing]) -> Iterable[tuple[str, list[Outgoing]]]:
    """By key, in order, none of them too large."""
    open_bundles: dict[tuple[str, float], list[Outgoing]] = {}
    sizes: dict[tuple[str, float], int] = {}
    for outgoing in batch:
        kind = (outgoing.key, outgoing.ttl_s)
        size = len(outgoing.payload)
        if kind in open_bundles and sizes[kind] + size > BATCH_LIMIT_BYTES:
            yield outgoing.key, open_bundles.pop(kind)
        if kind not in open_bundles:
            open_bundles[kind], sizes[kind] = [], 0
        open_bundles[kind].append(outgoing)
        sizes[kind] += size
    for (key, _ttl_s), together in open_bundles.items():
        yield key, together
