"""What host agents and controllers say to each other.

Every message is one JSON object with `type` and `v` (the format's version, 2). An agent sends
`AgentMessage`s; a controller sends `ControllerMessage`s. Unknown keys are ignored and new ones
have defaults, so that neighbours one minor version apart understand each other; the rules are in
`docs/spec/agent-bus.md`.

Wall-clock times are ISO 8601 in UTC with microseconds and inform only. Stage times are
milliseconds relative to the moment of detection, negative before it.
"""

from collections.abc import Iterator
from typing import Any, TypeVar, get_args

import msgspec
from msgspec import Struct

from reachthru.protocol.errors import GarbledError, PeerError, TooNewError, UnknownTypeError
from reachthru.protocol.faults import FaultKind, FaultStatus, Severity

FORMAT_VERSION = 2
NEWS_VERSION = 2  # from this on, agents' reports go to every controller, by a way of their own
# A neighbour one format ahead still means by its fields what we mean; further ahead, who knows.
READABLE_VERSION = FORMAT_VERSION + 1
BATCH_LIMIT = 100  # changes in one message


class BusMessage(Struct, tag_field="type", kw_only=True):
    v: int = FORMAT_VERSION


# --- Agent to controller ---------------------------------------------------------------------


class FaultChange(BusMessage, tag="fault", kw_only=True):
    """A fault was raised or cleared. (`fault_id`, `status`) is unique: repeats are harmless.

    `seq` counts the changes of one agent, without gaps at the sender: it orders them.
    `stages_ms` has, where known, `last_good`, `deadline`, `detected` (always 0), `outbox`;
    the controller adds `controller`, `stored` and one `sink:<name>` a sink.
    """

    fault_id: str
    seq: int
    status: FaultStatus
    kind: FaultKind
    severity: Severity
    instance_uuid: str
    instance_name: str
    host: str
    raised_at: str
    cleared_at: str | None = None
    detail: str = ""
    corrective_action: str = "none"
    stages_ms: dict[str, float] = {}


class FaultBatch(BusMessage, tag="fault_batch", kw_only=True):
    """Several `FaultChange`s of one agent, in the order of their seqs.

    For controllers that say so in their `FaultAck`s only. `read_batch` reads each by itself.
    """

    host: str
    changes: list[msgspec.Raw]


class InstanceReport(Struct, kw_only=True):
    """One instance as its host agent sees it now."""

    uuid: str
    name: str
    state: str  # a Condition
    registered: bool
    interval_ms: int | None = None
    last_seen_at: str | None = None
    health: str | None = None  # healthy | unhealthy; None before the first answer
    note: str = ""  # what an operator should know of it, for example why it has no port
    health_detail: str = ""  # what the guest said with its health
    round_trip_ms: float | None = None  # the slowest answer since it was last told; None: no answer


class AgentReport(BusMessage, tag="report", kw_only=True):
    """Sent at connection, then periodically and at changes: who I am, how I am, whom I carry.

    With `full`, `instances` is everything and what is not named is no longer on this host;
    otherwise it is what changed and `gone` names what left.

    `seq` counts the reports of one agent's life, which `epoch` names at random: a report whose
    `seq` is no higher than the last one's is a replay. An older agent sends neither.
    """

    host: str
    agent_version: str
    sent_at: str
    lateness_ms: float  # the worst of the last period: how late the agent itself woke up
    guests: int
    full: bool
    instances: list[InstanceReport] = []
    gone: list[str] = []
    # Group messages lost here since the agent's start, by sender and reason: those that changed.
    group_losses: dict[str, dict[str, int]] = {}
    epoch: str = ""
    seq: int = 0
    waiting: int = 0  # fault changes that no controller has acknowledged
    outbox_durable: bool = True  # False: the outbox can't be written, faults are in memory only


class AgentOffline(BusMessage, tag="offline", kw_only=True):
    """The agent's last will, or its goodbye (`clean`)."""

    host: str
    clean: bool


class GroupBroadcast(BusMessage, tag="group_broadcast", kw_only=True):
    """A guest of this host broadcasts to its server group. `id` is the agent's own counter.

    Group messages are best effort: they are never stored, and a loss is counted, not repeated.
    """

    id: int
    sender: str  # the instance's uuid: its port's identity, whatever the guest claims
    data: str
    # `sender_seq` counts the sender's broadcasts from 1, while its port is the same; `sender_epoch`
    # names that time at random. With several controllers they restore the order at the receiver.
    sender_epoch: str = ""
    sender_seq: int = 0


class GroupQuery(BusMessage, tag="group_query", kw_only=True):
    """A guest of this host asks how the members of its server group are."""

    id: int
    asker: str  # the instance's uuid


AgentMessage = FaultChange | FaultBatch | AgentReport | AgentOffline | GroupBroadcast | GroupQuery

# --- Controller to agent ---------------------------------------------------------------------


class FaultAck(BusMessage, tag="fault_ack", kw_only=True):
    """These changes are in a controller's database; the agent may forget them.

    `batch_limit` is how many changes the controller takes in one message; 0: an older one, which
    takes no `FaultBatch`.
    """

    seqs: list[int]
    batch_limit: int = 0


class ReportRequest(BusMessage, tag="report_request", kw_only=True):
    """A controller has (re)started: send a full report, and repeat what is not acknowledged."""


class GroupRefusal(Struct, kw_only=True):
    """The broadcast or query `id` was refused; the guest is told with a nack."""

    id: int
    log_msg: str


class GroupAck(BusMessage, tag="group_ack", kw_only=True):
    """A controller has taken, or refused, these broadcasts and queries of this agent.

    What is in neither list in time is answered with a nack by the agent itself.

    `own_queue` is the carrier's, and only RabbitMQ's: the controller also takes group messages from
    a queue of their own. An older one does not.
    """

    taken: list[int] = []
    refused: list[GroupRefusal] = []
    own_queue: bool = False


class GroupDelivery(BusMessage, tag="group_delivery", kw_only=True):
    """One broadcast for those of its group's members that are on this host."""

    source_instance: str  # opaque to guests, unique
    recipients: list[str]  # instance uuids
    data: str
    sender_epoch: str = ""  # the broadcast's; "": an older agent's, nothing is known of its order
    sender_seq: int = 0


class GroupStatus(BusMessage, tag="group_status", kw_only=True):
    """The answer to the query `id`: one status object a member, the asker included."""

    id: int
    members: list[dict[str, Any]]


class GroupNotification(BusMessage, tag="group_notification", kw_only=True):
    """A member's state has changed; for its peers on this host."""

    recipients: list[str]  # instance uuids
    event_type: str
    priority: str
    timestamp: str
    payload: dict[str, Any]  # the member's status object


ControllerMessage = (
    FaultAck | ReportRequest | GroupAck | GroupDelivery | GroupStatus | GroupNotification
)


_encoder = msgspec.json.Encoder()
_agent_decoder: msgspec.json.Decoder[AgentMessage] = msgspec.json.Decoder(AgentMessage)
_controller_decoder: msgspec.json.Decoder[ControllerMessage] = msgspec.json.Decoder(
    ControllerMessage
)
_TYPES = frozenset(
    str(cls.__struct_config__.tag)
    for cls in (*get_args(AgentMessage), *get_args(ControllerMessage))
)


class _Head(Struct):
    """As much as any version of any message has."""

    type: str
    v: int = FORMAT_VERSION


_head_decoder = msgspec.json.Decoder(_Head)
Message = TypeVar("Message", bound=BusMessage)


def encode(message: Struct) -> bytes:
    return _encoder.encode(message)


def decode_from_agent(payload: bytes) -> AgentMessage:
    """Raises `PeerError` for anything that is not an agent's message: see `_decode`."""
    return _decode(_agent_decoder, payload)


def read_batch(batch: FaultBatch) -> Iterator[FaultChange | PeerError]:
    """Each change, or why it is none: one that can't be read costs itself only."""
    for raw in batch.changes:
        try:
            change = decode_from_agent(bytes(raw))
        except PeerError as error:
            yield error
            continue
        if isinstance(change, FaultChange) and change.host == batch.host:
            yield change
        else:
            yield GarbledError("in a batch of faults: it is no fault of that host")


def decode_from_controller(payload: bytes) -> ControllerMessage:
    """Raises `PeerError` for anything that is not a controller's message: see `_decode`."""
    return _decode(_controller_decoder, payload)


def _decode(decoder: msgspec.json.Decoder[Message], payload: bytes) -> Message:
    """Raises `UnknownTypeError`, `TooNewError` or `GarbledError`."""
    try:
        message = decoder.decode(payload)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise _why_unreadable(payload, error) from error
    if message.v > READABLE_VERSION:
        raise TooNewError(_TOO_NEW.format(message.v))
    return message


_TOO_NEW = f"format version {{}}, and {READABLE_VERSION} is the newest that is read here"


def _why_unreadable(payload: bytes, error: Exception) -> PeerError:
    """A newer neighbour's message is not a broken one."""
    try:
        head = _head_decoder.decode(payload)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return GarbledError(f"not a message: {error}")
    if head.v > READABLE_VERSION:
        return TooNewError(_TOO_NEW.format(head.v))
    if head.type not in _TYPES:
        return UnknownTypeError(f"of type {head.type[:64]!r}, which nobody knows here")
    return GarbledError(f"not a message: {error}")
