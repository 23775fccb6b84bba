"""The wire's messages, typed (wire contract, sections 3 to 5).

This is the only place that knows field names. `schemas/` publishes the same contract as JSON
Schema; a test holds the two together. Receivers are kinder than senders: a text that is too
long is clipped by whoever uses it and an unknown word keeps its place as a string, because
losing a heartbeat over a log message would blame a healthy guest.
"""

from enum import StrEnum
from typing import Annotated, Any, ClassVar

from msgspec import Meta, Raw, Struct

# --- Section 3: base layer -------------------------------------------------------------------

HEARTBEAT_ADDR = "cgcs.heartbeat"
SERVER_GROUP_ADDR = "cgcs.server_grp"
BASE_VERSIONS = (1, 2)

UInt32 = Annotated[int, Meta(ge=0, le=2**32 - 1)]


class Envelope(Struct):
    """The base layer's message. `data` is the application's message, still encoded."""

    version: int
    source_addr: str
    dest_addr: str
    data: Raw


# --- Section 4: heartbeat --------------------------------------------------------------------

HEARTBEAT_VERSION = 3
HEARTBEAT_REVISION = 1
CHALLENGE_MAX = 2**31 - 2  # field guests parse signed and clamp what is larger
NAME_LIMIT_CHARS = 64
LOG_MSG_LIMIT_BYTES = 224
HEARTBEAT_LIMIT_BYTES = 1056  # a whole message, in field guests


class Health(StrEnum):
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"


class CorrectiveAction(StrEnum):
    """What the guest asks for when it is unhealthy."""

    NONE = "none"
    LOG = "log"
    REBOOT = "reboot"
    STOP = "stop"
    UNKNOWN = "unknown"

    @classmethod
    def read(cls, word: str) -> "CorrectiveAction":
        """A peer's word; one that is in no list counts as `unknown`."""
        try:
            return cls(word)
        except ValueError:
            return cls.UNKNOWN


class EventType(StrEnum):
    STOP = "stop"
    REBOOT = "reboot"
    SUSPEND = "suspend"
    PAUSE = "pause"
    UNPAUSE = "unpause"
    RESUME = "resume"
    RESIZE_BEGIN = "resize_begin"
    RESIZE_END = "resize_end"
    LIVE_MIGRATE_BEGIN = "live_migrate_begin"
    LIVE_MIGRATE_END = "live_migrate_end"
    COLD_MIGRATE_BEGIN = "cold_migrate_begin"
    COLD_MIGRATE_END = "cold_migrate_end"


class NotificationType(StrEnum):
    REVOCABLE = "revocable"
    IRREVOCABLE = "irrevocable"


class VoteResult(StrEnum):
    ACCEPT = "accept"
    REJECT = "reject"
    COMPLETE = "complete"
    TIMEOUT = "timeout"
    ERROR = "error"
    UNKNOWN = "unknown"


class Header(Struct, tag_field="msg_type", kw_only=True, gc=False):
    """What every heartbeat message has. `sequence` is the sender's own counter.

    `gc=False`: numbers and texts only, which no cycle can go through.
    """

    address: ClassVar[str] = HEARTBEAT_ADDR

    version: UInt32 = HEARTBEAT_VERSION
    revision: UInt32 = HEARTBEAT_REVISION
    sequence: UInt32 = 0


class Init(Header, tag="init", kw_only=True):
    """Guest to host: start a session; repeated until it is acknowledged."""

    invocation_id: UInt32
    name: str = ""
    heartbeat_interval_ms: UInt32
    vote_secs: UInt32 = 0
    shutdown_notice_secs: UInt32 = 0
    suspend_notice_secs: UInt32 = 0
    resume_notice_secs: UInt32 = 0
    restart_secs: UInt32 = 0
    corrective_action: str = CorrectiveAction.UNKNOWN


class InitAck(Header, tag="init_ack", kw_only=True):
    invocation_id: UInt32


class Challenge(Header, tag="challenge", kw_only=True):
    heartbeat_challenge: UInt32


class ChallengeResponse(Header, tag="challenge_response", kw_only=True):
    """Guest to host. Health other than `healthy` counts as unhealthy."""

    heartbeat_response: UInt32
    heartbeat_health: str
    corrective_action: str = CorrectiveAction.UNKNOWN
    log_msg: str = ""


class Exit(Header, tag="exit", kw_only=True):
    """Guest to host: heartbeating ends, and nothing is wrong."""

    log_msg: str = ""


class ActionNotify(Header, tag="action_notify", kw_only=True):
    """Host to guest: something is about to happen to the instance."""

    invocation_id: UInt32
    event_type: str
    notification_type: str
    timeout_ms: UInt32


class ActionResponse(Header, tag="action_response", kw_only=True):
    invocation_id: UInt32
    event_type: str
    notification_type: str
    vote_result: str
    log_msg: str = ""


class HeartbeatNack(Header, tag="nack", kw_only=True):
    """Host to guest: a message of yours was refused, and why."""

    invocation_id: UInt32 = 0
    log_msg: str = ""


HeartbeatMessage = (
    Init
    | InitAck
    | Challenge
    | ChallengeResponse
    | Exit
    | ActionNotify
    | ActionResponse
    | HeartbeatNack
)

# --- Section 5: server group -----------------------------------------------------------------


BROADCAST_LIMIT_BYTES = 3050  # of UTF-8
GROUP_MESSAGE_LIMIT_BYTES = 4095  # a whole application message: field guests' buffer has 4096
BROADCAST_FORBIDDEN = "\n\0"


class ServerGroupHeader(Struct, tag_field="msg_type", kw_only=True, omit_defaults=True):
    address: ClassVar[str] = SERVER_GROUP_ADDR


class Broadcast(ServerGroupHeader, tag="broadcast", kw_only=True):
    """Guest to host, and from there to every other member.

    `source_instance` is the host's word on who sent it (opaque, unique); a guest's is ignored.
    """

    source_instance: str = ""
    data: str


class StatusQuery(ServerGroupHeader, tag="status_query", kw_only=True):
    """Guest to host. A newer query cancels an older one."""

    seq: UInt32


class StatusResponse(ServerGroupHeader, tag="status_response", kw_only=True):
    """Host to guest: one member of the group, as `data`."""

    seq: UInt32
    data: dict[str, Any]


class StatusResponseDone(ServerGroupHeader, tag="status_response_done", kw_only=True):
    """Host to guest: every member has been told."""

    seq: UInt32


class Notification(ServerGroupHeader, tag="notification", kw_only=True):
    """Host to guest: a member's state has changed.

    In base version 1 `data` is its status object, in version 2 `{"event_type", "priority",
    "timestamp", "payload"}` with that object as payload.
    """

    data: dict[str, Any]


class ServerGroupNack(ServerGroupHeader, tag="nack", kw_only=True):
    """Host to guest: a message of yours was refused. Also the base layer's own refusal."""

    orig_msg_type: str
    log_msg: str


ServerGroupMessage = (
    Broadcast | StatusQuery | StatusResponse | StatusResponseDone | Notification | ServerGroupNack
)

Message = HeartbeatMessage | ServerGroupMessage


def clip_text(text: str, limit_bytes: int) -> str:
    """`text` on one line, cut to `limit_bytes` of UTF-8 and never inside a character.

    Control characters become spaces: escaped they take six bytes each, and a message that was
    within its limit would no longer be.
    """
    plain = "".join(char if char >= " " and char != "\x7f" else " " for char in text).strip()
    return plain.encode("utf-8", "replace")[:limit_bytes].decode("utf-8", "ignore")
