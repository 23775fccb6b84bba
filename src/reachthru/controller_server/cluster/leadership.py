"""Asks for the lease each second, and says who leads.

A leader writes agents' reports into the database, finds hosts lost, and tells guests of their
peers. Everything else is shared by all controllers.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable

from reachthru.controller_server.cluster.lease import RENEW_S, UNLED_S, Lease
from reachthru.controller_server.store import leases
from reachthru.controller_server.store.database import Database, DatabaseError

GIVE_BACK_S = 0.5  # how long a stop waits for that

_log = logging.getLogger(__name__)


class Leadership:
    """`name` tells this controller from the others.

    `on_change` is called on the event loop when it begins and when it ceases to lead, and
    `on_other` with the monotonic time until which another one certainly led.
    """

    def __init__(self, database: Database, name: str) -> None:
        self.name = name
        self.on_change: Callable[[bool], None] = lambda _leads: None
        self.on_other: Callable[[float], None] = lambda _until: None
        self._database = database
        self._lease = Lease()
        self._announced: bool | None = None  # None: nothing was said yet
        self._away = False

    def leads(self) -> bool:
        return self._lease.leads(time.monotonic())

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            asked_at = time.monotonic()
            asking = asyncio.ensure_future(
                self._database.write(lambda connection: leases.hold_lease(connection, self.name))
            )
            # The lease may end while the database is silent.
            while not (await asyncio.wait((asking,), timeout=RENEW_S))[0]:
                self._say()
            try:
                held = asking.result()
            except DatabaseError as error:
                self._say_away(error)
            else:
                self._away = False
                self._take_answer(held, asked_at)
            self._say()
            await asyncio.sleep(max(0.0, asked_at + RENEW_S - time.monotonic()))

    async def close(self) -> None:
        """Stops to lead, and lets the next one begin at once."""
        led = self.leads()
        self._lease.refused()
        if not led:
            return
        with contextlib.suppress(DatabaseError, TimeoutError):
            async with asyncio.timeout(GIVE_BACK_S):
                await self._database.write(
                    lambda connection: leases.give_back(connection, leases.LEADER, self.name)
                )

    def _take_answer(self, held: bool, asked_at: float) -> None:
        if held:
            self._lease.granted(asked_at)
        else:
            self._lease.refused()
            self.on_other(asked_at - UNLED_S)

    def _say(self) -> None:
        leads = self.leads()
        if leads == self._announced:
            return
        led_before, self._announced = self._announced, leads
        if leads:
            _log.info("controller %s: leads", self.name)
        elif led_before:
            _log.warning("controller %s: leads no more: its lease ran out", self.name)
        elif not self._away:
            _log.info("controller %s: follows; another one leads", self.name)
        if leads or led_before:
            self.on_change(leads)

    def _say_away(self, error: DatabaseError) -> None:
        if not self._away:
            _log.error("controller %s: no lease, so nobody may lead: %s", self.name, error)
        self._away = True
