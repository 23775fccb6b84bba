"""What the REST API reads: the running controller, without the power to stop it."""

from collections.abc import Sequence

from msgspec import Struct

from reachthru.bus import ControllerBus
from reachthru.controller_server.cluster.forgetting import Forgetting
from reachthru.controller_server.cluster.host_watch import HostWatch
from reachthru.controller_server.cluster.leadership import Leadership
from reachthru.controller_server.delivery import DeliveryWorker
from reachthru.controller_server.events import EventHub
from reachthru.controller_server.groups.base import GroupDirectory
from reachthru.controller_server.inventory import Inventory
from reachthru.controller_server.maintenance import Maintenance
from reachthru.controller_server.metrics import Metrics
from reachthru.controller_server.store.database import Database
from reachthru.controller_server.store.ledger import Ledger


class ControllerState(Struct, frozen=True, kw_only=True):
    bus: ControllerBus
    database: Database
    ledger: Ledger
    inventory: Inventory
    groups: GroupDirectory
    events: EventHub
    metrics: Metrics
    leadership: Leadership
    watch: HostWatch
    forgetting: Forgetting
    maintenance: Maintenance
    sinks: tuple[str, ...]
    workers: Sequence[DeliveryWorker] = ()  # of those sinks
