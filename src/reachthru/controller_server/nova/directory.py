"""Server groups as Nova knows them: a cache, a listener that feeds it, an API that repairs it."""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar

from reachthru.controller_server.groups.base import Group, GroupDirectory
from reachthru.controller_server.nova.api import NovaApi, NovaUnavailableError
from reachthru.controller_server.nova.cache import Cache
from reachthru.controller_server.nova.news import GroupNews, InstanceNews
from reachthru.controller_server.nova.notifications import PULSE_INTERVAL_S, NotificationListener
from reachthru.controller_server.nova.pulse import PulseWatch, Verdict
from reachthru.controller_server.nova.settings import NovaSettings

WAITING_LIMIT = 1000  # notifications on their way from the listener's thread to the loop
DOUBT_DELAY_S = 1.0  # in which Nova finishes what it has just notified of
RETRY_INTERVAL_S = 5.0  # between tries while the API is out of reach
FIRST_PULSE_LIMIT_S = 5.0  # how long the first snapshot waits for the bus, to miss nothing

_log = logging.getLogger(__name__)
_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")


class NovaDirectory(GroupDirectory):
    """Set `on_change`, then keep `run()` in a task."""

    def __init__(self, settings: NovaSettings) -> None:
        self._settings = settings
        self._cache = Cache()
        self._pulses = PulseWatch()
        self._api = NovaApi(settings.conf)
        self._api_turn = asyncio.Lock()  # its session is for one thread at a time
        self._api_answers: bool | None = None  # None: not asked yet
        self._refresh_wanted = asyncio.Event()
        self._refreshed = asyncio.Event()
        self._doubts: dict[str, None] = {}
        self._doubted = asyncio.Event()
        self._waiting = threading.BoundedSemaphore(WAITING_LIMIT)
        self._stopped = threading.Event()
        self._wake: asyncio.TimerHandle | None = None

    @property
    def stale(self) -> bool:
        return not (self._api_answers and self._pulses.carries)

    async def ready(self) -> None:
        await self._refreshed.wait()

    def groups(self) -> Sequence[Group]:
        return self._cache.groups()

    def group(self, group_id: str) -> Group | None:
        return self._cache.group(group_id)

    def group_of(self, instance_uuid: str) -> Group | None:
        return self._cache.group_of(instance_uuid)

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        listener = NotificationListener(
            self._settings.notifications_url,
            self._settings.notifications_pool,
            on_news=partial(self._hand_over, loop, self._hear),
            on_pulse=partial(self._hand_over, loop, self._hear_pulse),
        )
        listener.start()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._watch_pulses())
                tasks.create_task(self._keep_fresh())
                tasks.create_task(self._settle_doubts())
        finally:
            self._stopped.set()
            if self._wake is not None:
                self._wake.cancel()
            await asyncio.to_thread(listener.stop)

    # --- Notifications ------------------------------------------------------------------------

    def _hand_over(
        self, loop: asyncio.AbstractEventLoop, take: Callable[[_Item], None], item: _Item
    ) -> None:
        """In the listener's thread: waits while the loop is behind."""
        while not self._waiting.acquire(timeout=1):
            if self._stopped.is_set():
                return

        def arrive() -> None:
            self._waiting.release()
            take(item)

        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(arrive)

    def _hear(self, news: InstanceNews | GroupNews) -> None:
        if isinstance(news, InstanceNews):
            self._cache.hear_instance(news, time.monotonic())
        else:
            self._cache.hear_group(news, time.monotonic())
        self._follow_up()

    def _hear_pulse(self, number: int) -> None:
        heard_before = self._pulses.carries
        if self._pulses.heard(number, time.monotonic()) is Verdict.MISSED:
            if not heard_before:
                _log.info("Nova's notifications are heard")
            self._refresh_wanted.set()

    async def _watch_pulses(self) -> None:
        while True:
            await asyncio.sleep(PULSE_INTERVAL_S)
            if self._pulses.check(time.monotonic()) is Verdict.LOST:
                _log.error("Nova's notifications are not heard: its message bus is out of reach")

    # --- The API ------------------------------------------------------------------------------

    async def _keep_fresh(self) -> None:
        pause_s = FIRST_PULSE_LIMIT_S
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._refresh_wanted.wait(), pause_s)
            self._refresh_wanted.clear()
            pause_s = await self._refresh()
            self._refreshed.set()

    async def _refresh(self) -> float:
        """Returns after how many seconds to do it again."""
        begun_at = time.monotonic()
        try:
            snapshot = await self._ask(self._api.snapshot)
        except NovaUnavailableError:
            return RETRY_INTERVAL_S
        self._cache.see_all(snapshot, begun_at=begun_at, now=time.monotonic())
        self._follow_up()
        return self._settings.snapshot_interval_s

    async def _settle_doubts(self) -> None:
        while True:
            await self._doubted.wait()
            await asyncio.sleep(DOUBT_DELAY_S)
            self._doubted.clear()
            doubts, self._doubts = self._doubts, {}
            try:
                for instance_uuid in doubts:
                    await self._settle(instance_uuid)
            except NovaUnavailableError:
                # The refresh that succeeds, some time, raises the doubts that are left.
                self._refresh_wanted.set()

    async def _settle(self, instance_uuid: str) -> None:
        begun_at = time.monotonic()
        server = await self._ask(partial(self._api.server, instance_uuid))
        if server is None:
            seen_at = datetime.now(UTC).isoformat(timespec="microseconds")
            self._cache.see_missing(instance_uuid, begun_at=begun_at, seen_at=seen_at)
        else:
            self._cache.see_server(server, begun_at=begun_at, now=time.monotonic())
        self._follow_up()

    async def _ask(self, call: Callable[[], _Answer]) -> _Answer:
        """Raises `NovaUnavailableError`; says once that the API is lost or back."""
        async with self._api_turn:
            try:
                answer = await asyncio.to_thread(call)
            except NovaUnavailableError as error:
                if self._api_answers is not False:
                    _log.error("Nova's API can't be asked: %s", error)
                self._api_answers = False
                raise
        if not self._api_answers:
            _log.info("Nova's API answers")
        self._api_answers = True
        return answer

    # --- What the cache wants done ------------------------------------------------------------

    def _follow_up(self) -> None:
        for change in self._cache.take_changes():
            self.on_change(change)
        doubts = self._cache.take_doubts()
        if doubts:
            self._doubts.update(dict.fromkeys(doubts))
            self._doubted.set()
        if self._wake is not None:
            self._wake.cancel()
            self._wake = None
        deadline = self._cache.deadline()
        if deadline is not None:
            loop = asyncio.get_running_loop()
            delay_s = max(0.0, deadline - time.monotonic())
            self._wake = loop.call_later(delay_s, self._wake_cache)

    def _wake_cache(self) -> None:
        self._cache.wake(time.monotonic())
        self._follow_up()
