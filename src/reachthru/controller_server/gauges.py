"""What is read when Prometheus asks. Without a database, what is not in it is still told."""

import asyncio
from collections.abc import Mapping

from reachthru.controller_server import metric_table as table
from reachthru.controller_server.state import ControllerState
from reachthru.controller_server.store.database import DatabaseError
from reachthru.controller_server.store.deliveries import Backlog
from reachthru.controller_server.store.tables import ONLINE
from reachthru.protocol.faults import FaultKind
from reachthru.telemetry.metrics import Description, Values

DATABASE_LIMIT_S = 3.0  # Prometheus waits for 10 s


async def gauges(controller: ControllerState) -> dict[Description, Values]:
    active = controller.inventory.active_kinds()
    return {
        table.BUS_CONNECTED: controller.bus.connected,
        table.BUS_REFUSED: {(reason,): n for reason, n in controller.bus.refused.items()},
        table.ACTIVE_FAULTS: {(kind.value,): active[kind] for kind in FaultKind},
        table.SUPPRESSED: {
            (sink,): controller.ledger.suppressed[sink] for sink in controller.sinks
        },
        table.RELEASED: {
            (sink,): controller.maintenance.released[sink] for sink in controller.sinks
        },
        table.SINK_UP: {(worker.sink,): not worker.sink_is_down for worker in controller.workers},
        table.LEADER: controller.leadership.leads(),
        table.HOSTS_LOST: controller.watch.lost,
        table.CARRIER_SUSPECTED: controller.watch.suspects_carrier,
        **_of_agents(controller),
        **await _of_database(controller),
    }


def _of_agents(controller: ControllerState) -> Mapping[Description, Values]:
    online = [host for host in controller.inventory.hosts() if host.state == ONLINE]
    return {
        table.AGENTS_CONNECTED: len(online),
        table.GUESTS: sum(host.guests for host in online),
        table.AGENTS_OUTBOX: sum(host.waiting for host in online),
        table.AGENTS_OUTBOX_BROKEN: sum(not host.outbox_durable for host in online),
        table.AGENTS_LATENESS: max((host.lateness_ms for host in online), default=0.0) / 1000,
        table.AGENTS_CLOCK: max((abs(host.clock_ms or 0.0) for host in online), default=0.0) / 1000,
    }


async def _of_database(controller: ControllerState) -> Mapping[Description, Values]:
    try:
        async with asyncio.timeout(DATABASE_LIMIT_S):
            waiting = await controller.ledger.backlog()
            await controller.database.ping()
    except (DatabaseError, TimeoutError):
        return {table.DATABASE_CONNECTED: 0}
    backlog = {sink: waiting.get(sink, Backlog(0, 0.0)) for sink in controller.sinks}
    return {
        table.DATABASE_CONNECTED: 1,
        table.BACKLOG: {(sink,): found.changes for sink, found in backlog.items()},
        table.BACKLOG_OLDEST: {
            (sink,): round(found.oldest_s, 3) for sink, found in backlog.items()
        },
    }
