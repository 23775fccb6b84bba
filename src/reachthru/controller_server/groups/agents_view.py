"""A group's member as agents see it, in Nova's words: for where there is no Nova."""

from typing import Any

from reachthru.controller_server.groups.base import ERROR, Member
from reachthru.controller_server.groups.census import Census
from reachthru.protocol.faults import Condition

ACTIVE = "active"
STOPPED = "stopped"

# Nova's vm_state for what the hypervisor says; what is not named here is `active`.
_STATES = {
    Condition.STARTING_UP: "building",
    Condition.PAUSED_BY_USER: "paused",
    Condition.SAVING: "suspended",
    Condition.SHUT_OFF: STOPPED,
    Condition.IO_ERROR: ERROR,
    Condition.CRASHED: ERROR,
    Condition.POST_COPY_FAILED: ERROR,
    Condition.PAUSED_UNKNOWN: ERROR,
    Condition.GONE: ERROR,
}


def member_seen_by_agents(uuid: str, census: Census, project_id: str) -> Member:
    """An instance that no agent has is `stopped`; one with an active fault is in `error`."""
    seen, faults = census.find(uuid), census.faults(uuid)
    state, description = STOPPED, ""
    if seen is not None:
        state, description = _state(seen.state), seen.state
    if faults:
        state, description = ERROR, ", ".join(sorted(set(faults)))
    name = seen.name if seen is not None else uuid
    host = seen.host if seen is not None else None
    status: dict[str, Any] = {
        "instance_id": uuid,
        "display_name": name,
        "state": state,
        "state_description": description,
        "host": host,
        "node": host,
    }
    return Member(
        uuid=uuid, name=name, host=host, state=state, project_id=project_id, status=status
    )


def _state(condition: str) -> str:
    try:
        return _STATES.get(Condition(condition), ACTIVE)
    except ValueError:  # a word of a newer agent
        return ACTIVE
