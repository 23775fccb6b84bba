"""Tells controllers who is here and how they are: all at once when asked, else what changed."""

import asyncio
import itertools
import logging
import secrets
from collections.abc import Collection
from datetime import UTC, datetime

import reachthru
from reachthru.bus.base import AgentBus, BusUnavailableError
from reachthru.host_agent.group_losses import GroupLosses
from reachthru.host_agent.lateness import AwakeTime
from reachthru.host_agent.outbox import Outbox
from reachthru.host_agent.roster import Roster
from reachthru.protocol.agent_bus import AgentReport

COALESCE_S = 0.1
PERIOD_S = 5.0  # a report comes at least so often: it is a sign of life
REFRESH_PERIODS = 12  # within so many of them every instance is told anew, a few at a time
REFRESH_MIN = 50

_log = logging.getLogger(__name__)


class Reporter:
    """`ask_full` at each connection, and when a controller wants one."""

    def __init__(
        self,
        host: str,
        bus: AgentBus,
        roster: Roster,
        awake: AwakeTime,
        *,
        group_losses: GroupLosses,
        outbox: Outbox,
    ) -> None:
        self._host = host
        self._bus = bus
        self._roster = roster
        self._awake = awake
        self._group_losses = group_losses
        self._outbox = outbox
        self._epoch = secrets.token_hex(8)
        self._seqs = itertools.count(1)
        self._full = True
        self._news = asyncio.Event()
        self._refresh: list[str] = []
        roster.on_change = self._news.set

    def ask_full(self) -> None:
        self._full = True
        self._news.set()

    async def run(self) -> None:
        while True:
            try:
                async with asyncio.timeout(PERIOD_S):
                    await self._news.wait()
                await asyncio.sleep(COALESCE_S)  # what changes together is told together
                refresh: Collection[str] = ()
            except TimeoutError:
                refresh = self._take_refresh()
            self._news.clear()
            if self._bus.connected:
                await self._report(refresh)

    async def _report(self, refresh: Collection[str]) -> None:
        roster, full = self._roster, self._full
        named = list(roster.instances) if full else {*roster.changed, *refresh}
        gone = [] if full else sorted(roster.departed)
        roster.changed.clear()
        roster.departed.clear()
        self._full = False
        report = AgentReport(
            host=self._host,
            agent_version=reachthru.__version__,
            sent_at=datetime.now(UTC).isoformat(timespec="microseconds"),
            lateness_ms=round(self._awake.take_worst_s() * 1000, 3),
            guests=len(roster.instances),
            full=full,
            instances=roster.reports(named),
            gone=gone,
            group_losses=self._group_losses.take_report(full=full),
            epoch=self._epoch,
            seq=next(self._seqs),
            waiting=self._outbox.waiting,
            outbox_durable=self._outbox.durable,
        )
        try:
            await self._bus.send(report)
        except BusUnavailableError as error:
            _log.debug("a report was not sent: %s", error)
            self.ask_full()

    def _take_refresh(self) -> list[str]:
        """The next few of all instances, so that what is seldom told is never old for long."""
        if not self._refresh:
            self._refresh = list(self._roster.instances)
        count = max(REFRESH_MIN, -(-len(self._roster.instances) // REFRESH_PERIODS))
        taken, self._refresh = self._refresh[:count], self._refresh[count:]
        return taken
