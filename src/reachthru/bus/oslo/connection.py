"""One end's way to RabbitMQ: kept, lost, kept again. Here is the event loop's side of it."""

import asyncio
import contextlib
import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from reachthru.bus.base import AgentBus, BusRefusedError, BusUnavailableError
from reachthru.bus.doors import DoorError
from reachthru.bus.inbox import PAYLOAD_LIMIT_BYTES
from reachthru.bus.oslo import reasons
from reachthru.bus.oslo.address import Address
from reachthru.bus.oslo.session import Outgoing, RefusedError, Session, SessionError, Source

CONFIRM_TIMEOUT_S = 3.0
# Long enough for two tries at something that does not answer.
OPEN_TIMEOUT_S = 20.0
CLOSE_TIMEOUT_S = 0.3
# A broker that has confirmed nothing for so long is asked whether it is there.
QUIET_S = 2.0
BACKOFF_MIN_S = 0.2
BACKOFF_MAX_S = 5.0
STABLE_S = 5.0  # a connection that lasted so long is not part of a quarrel
# What the broker refused is not asked of it again for so long.
REFUSAL_HOLD_S = 5.0
ASK_QUEUES_S = 5.0
# A quorum queue that takes nothing for so long, while the broker answers, is without a leader for
# good: RabbitMQ 3.10 on one node, killed within a second of making the queue, elects none.
LEADERLESS_S = 15.0
COMPLAINTS_LIMIT = 20

Result = TypeVar("Result")

_chance = random.SystemRandom()
_log = logging.getLogger(__name__)


class Connection:
    """`receive` gets (key, payloads); `refused` counts what was not carried, by reason.

    `alive_key` is one that nobody listens to, for asking whether the broker is there.
    """

    def __init__(
        self,
        address: Address,
        *,
        alive_key: str,
        sources: list[Source],
        lanes: int,
        receive: Callable[[str, object], None],
        refused: Counter[str],
    ) -> None:
        self._address = address
        self._alive_key = alive_key
        self._sources = sources
        self._lanes = lanes
        self._receive = receive
        self._refused = refused
        self._on_connection: Callable[[bool], None] = AgentBus.on_connection
        self._session: Session | None = None
        self._waiting: set[asyncio.Future[None]] = set()
        self._keeper: asyncio.Task[None] | None = None
        self._closing: set[asyncio.Future[None]] = set()
        self._unreachable_since: float | None = None  # None: connected, or not tried yet
        self._said: set[str] = set()  # since the last connection
        self._held: dict[str, tuple[float, str]] = {}  # refused keys: until when, and why
        self._asked: tuple[str, float] | None = None  # a queue, and when
        self._silent_since: dict[str, float] = {}  # queues, while the broker answers

    @property
    def connected(self) -> bool:
        return self._session is not None

    def hears(self, queue: str) -> bool:
        """Whether messages come from `queue`, which is a spare source."""
        return self._session is not None and queue not in self._session.missing

    def is_refused(self, key: str) -> bool:
        """Whether the broker has refused what was published with `key`, and not taken any since."""
        return key in self._held

    def open(self, on_connection: Callable[[bool], None]) -> None:
        self._on_connection = on_connection
        self._keeper = asyncio.create_task(self._keep(), name=f"rabbit {self._alive_key}")

    async def close(self) -> None:
        """Its threads end now, or are left to themselves: they may wait for a broker."""
        if self._keeper is None:
            return
        self._keeper.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._keeper
        if self._closing:
            await asyncio.wait(self._closing, timeout=CLOSE_TIMEOUT_S)

    async def publish(self, outgoing: Outgoing, lane: int = 0) -> None:
        """Returns when the broker has it.

        Raises `BusUnavailableError` after a few seconds, `BusRefusedError`.
        """
        session = self._session
        if session is None:
            raise BusUnavailableError(f"{self._address}: not connected")
        self._refuse_again(outgoing.key)
        if not self._fits(outgoing):
            raise BusRefusedError(f"{self._address}: a message is too long")
        await self._confirm(session, outgoing, lane)
        if self._held.pop(outgoing.key, None):
            _log.warning("%s: %s: the broker takes our messages again", self._address, outgoing.key)

    def offer(self, outgoing: Outgoing, lane: int = 0) -> bool:
        session = self._session
        return session is not None and self._fits(outgoing) and session.put(outgoing, lane)

    async def _confirm(self, session: Session, outgoing: Outgoing, lane: int) -> None:
        done = outgoing.done = asyncio.get_running_loop().create_future()
        if not session.put(outgoing, lane):
            raise BusUnavailableError(f"{self._address}: too many messages wait already")
        self._waiting.add(done)
        try:
            async with asyncio.timeout(CONFIRM_TIMEOUT_S):
                await done
        except TimeoutError:
            # Whoever else waits need not find out one by one.
            session.fail(reasons.SILENT)
            raise BusUnavailableError(f"{self._address}: {session.broken.result()}") from None
        except RefusedError as error:
            why = self._held.get(outgoing.key, (0.0, str(error)))[1]
            raise BusRefusedError(f"{self._address}: {outgoing.key}: {why}") from error
        finally:
            self._waiting.discard(done)

    # --- Refusals ----------------------------------------------------------------------------

    def _fits(self, outgoing: Outgoing) -> bool:
        if len(outgoing.payload.encode()) <= PAYLOAD_LIMIT_BYTES:
            return True
        self._refused["too_long"] += 1
        if self._may_say(f"{outgoing.key}: too long"):
            _log.error(
                "%s: %s: a message of more than %d bytes is too long, and is not sent",
                self._address,
                outgoing.key,
                PAYLOAD_LIMIT_BYTES,
            )
        return False

    def _refuse_again(self, key: str) -> None:
        until, why = self._held.get(key, (0.0, ""))
        if time.monotonic() < until:
            raise BusRefusedError(f"{self._address}: {key}: {why}")

    def _hold(self, key: str, error: RefusedError, count: int) -> None:
        self._refused["not_authorised" if error.of_rights else "broker_refused"] += count
        if key not in self._held and len(self._held) < COMPLAINTS_LIMIT:
            _log.error(
                "%s: the broker refuses what is published as %s: %s; asking it again each %g s",
                self._address,
                key,
                error,
                REFUSAL_HOLD_S,
            )
        self._held[key] = (time.monotonic() + REFUSAL_HOLD_S, str(error))

    # --- Connections -------------------------------------------------------------------------

    async def _keep(self) -> None:
        backoff_s = BACKOFF_MIN_S
        while True:
            replace = self._leaderless()
            session = Session(
                *(self._address.transport, self._sources, self._lanes, self._receive, self._hold),
                replace=replace,
            )
            opened_at = None
            try:
                await self._open(session)
                opened_at = time.monotonic()
                for queue in replace:
                    del self._silent_since[queue]
                await self._serve(session)
            except SessionError as error:
                if opened_at is None:  # it is more than a queue that is silent
                    self._silent_since.clear()
                self._say_unreachable(str(error))
            except DoorError as error:
                self._say_unreachable(f"[bus] {error}")
            finally:
                self._dismiss(session)
            self._address.use_next()
            if opened_at is not None and time.monotonic() - opened_at > STABLE_S:
                backoff_s = BACKOFF_MIN_S
            await asyncio.sleep(backoff_s * _chance.uniform(0.5, 1.0))
            backoff_s = min(backoff_s * 2, BACKOFF_MAX_S)

    async def _open(self, session: Session) -> None:
        opening = in_thread(partial(session.open, self._alive_key), "rabbit open")
        done, _ = await asyncio.wait((opening,), timeout=OPEN_TIMEOUT_S)
        if not done:
            raise SessionError(reasons.SILENT)
        opening.result()

    def _leaderless(self) -> list[str]:
        """Queues to be made anew."""
        now = time.monotonic()
        queues = [
            queue for queue, since in self._silent_since.items() if now - since > LEADERLESS_S
        ]
        for queue in queues:
            _log.error(
                "%s: queue %s took nothing for %.0f s, and the broker is there: it is deleted and"
                " made anew; nothing is lost, agents repeat what was in it",
                *(self._address, queue, now - self._silent_since[queue]),
            )
        return queues

    async def _serve(self, session: Session) -> None:
        """Until the session breaks, which raises `SessionError`."""
        self._say_reachable()
        for queue, why in session.missing.items():
            if self._may_say(queue):
                _log.error(
                    "%s: queue %s is not for us: %s; going on without: import the definitions of"
                    " packaging/rabbitmq again",
                    *(self._address, queue, why),
                )
        self._session = session
        self._on_connection(True)
        asking: asyncio.Task[None] | None = None
        self._asked = None
        asking_queues = asyncio.create_task(self._ask_queues(session))
        try:
            while not session.broken.done():
                await asyncio.wait((session.broken,), timeout=QUIET_S / 2)
                quiet_s = time.monotonic() - session.confirmed_at
                if quiet_s > QUIET_S and (asking is None or asking.done()):
                    asking = asyncio.create_task(self._ask(session))
            self._note_silence(session)
            raise SessionError(session.broken.result())
        finally:
            self._session = None
            asking_queues.cancel()
            if asking is not None:
                asking.cancel()
            for done in self._waiting:
                if not done.done():
                    done.set_exception(
                        BusUnavailableError(f"{self._address}: the connection broke")
                    )
            self._on_connection(False)

    async def _ask(self, session: Session) -> None:
        with contextlib.suppress(BusUnavailableError):
            await self._confirm(session, Outgoing(self._alive_key, "", ttl_s=1), lane=0)

    async def _ask_queues(self, session: Session) -> None:
        """Whether those that can be without a leader take messages: nobody else would tell.

        Until cancelled. `_asked` is the one whose answer is awaited.
        """
        sources = [
            (source.queue, source.alive_key)
            for source in self._sources
            if source.alive_key is not None
        ]
        with contextlib.suppress(BusUnavailableError):  # an older release's rights, say
            while sources:
                for queue, alive_key in sources:
                    self._asked = (queue, time.monotonic())
                    await self._confirm(session, Outgoing(alive_key, "", ttl_s=1), lane=0)
                    self._silent_since.pop(queue, None)
                    self._asked = None
                await asyncio.sleep(ASK_QUEUES_S)

    def _note_silence(self, session: Session) -> None:
        """The session broke: was it while a queue owed an answer?"""
        if self._asked is not None and session.broken.result() == reasons.SILENT:
            queue, asked_at = self._asked
            self._silent_since.setdefault(queue, asked_at)

    def _dismiss(self, session: Session) -> None:
        closing = in_thread(session.close, "rabbit close")
        self._closing.add(closing)
        closing.add_done_callback(self._closed)

    def _closed(self, closing: "asyncio.Future[None]") -> None:
        self._closing.discard(closing)
        if not closing.cancelled() and (error := closing.exception()):
            _log.info("%s: while closing a connection: %s", self._address, error)

    def _say_reachable(self) -> None:
        if self._unreachable_since is None:
            _log.info("%s: connected", self._address)
        else:
            away_s = time.monotonic() - self._unreachable_since
            _log.warning("%s: the broker is back after %.1f s", self._address, away_s)
        self._unreachable_since = None
        self._said.clear()

    def _say_unreachable(self, why: str) -> None:
        if self._unreachable_since is None:
            self._unreachable_since = time.monotonic()
        # Nobody there is said once; a refusal each time that its reason changes.
        refused = reasons.is_refusal(why)
        self._refused["not_let_in"] += refused
        if self._may_say(why if refused else "no broker"):
            _log.warning("%s: no broker: %s; trying again until there is", self._address, why)

    def _may_say(self, what: str) -> bool:
        """Once for each time that the broker is here, or is away."""
        if what in self._said or len(self._said) >= COMPLAINTS_LIMIT:
            return False
        self._said.add(what)
        return True


def in_thread(work: Callable[[], Result], name: str) -> "asyncio.Future[Result]":
    """`work` in a daemon thread of its own: what waits for a broker holds up no exit."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Result] = loop.create_future()

    def run() -> None:
        try:
            resolve = partial(done.set_result, work())
        except Exception as error:
            resolve = partial(done.set_exception, error)
        with contextlib.suppress(RuntimeError):  # the event loop is closed
            loop.call_soon_threadsafe(lambda: None if done.cancelled() else resolve())

    threading.Thread(target=run, name=name, daemon=True).start()
    return done
