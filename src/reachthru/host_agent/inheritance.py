"""What an earlier host agent of this compute node left behind."""

from collections import defaultdict
from collections.abc import Mapping

from reachthru.host_agent.outbox import Outbox
from reachthru.protocol.faults import FaultKind
from reachthru.protocol.heartbeat.events import Session


class Inheritance:
    """Sessions that may be taken over, each once, and faults that are active, by instance."""

    def __init__(self, outbox: Outbox) -> None:
        self._sessions: dict[str, dict[str, Session]] = defaultdict(dict)
        self._faults: dict[str, list[tuple[FaultKind, str]]] = defaultdict(list)
        for (uuid, port), session in outbox.sessions.items():
            self._sessions[uuid][port] = session
        for fault in outbox.active.values():
            self._faults[fault.instance_uuid].append((fault.kind, fault.fault_id))

    def sessions(self, uuid: str) -> Mapping[str, Session]:
        """Those that were not taken yet, by port."""
        return self._sessions.get(uuid, {})

    def take_session(self, uuid: str, port: str) -> Session | None:
        return self._sessions[uuid].pop(port, None) if uuid in self._sessions else None

    def take_faults(self, uuid: str) -> list[tuple[FaultKind, str]]:
        """(kind, fault id)"""
        return self._faults.pop(uuid, [])
