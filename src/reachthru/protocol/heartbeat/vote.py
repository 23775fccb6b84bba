"""One lifecycle exchange of the host's: an `action_notify` and how the guest answered it.

Only a `reject` of something revocable refuses; `accept`, `complete` (what a field guest with no
handler says) and no answer in time count as accept (wire contract, section 4).
"""

from reachthru.protocol.heartbeat.events import Voted
from reachthru.protocol.messages import (
    LOG_MSG_LIMIT_BYTES,
    ActionNotify,
    ActionResponse,
    NotificationType,
    VoteResult,
    clip_text,
)

RESULT_LIMIT_BYTES = 16


class Vote:
    """`deadline` is in absolute monotonic seconds."""

    __slots__ = ("_notify", "deadline")

    def __init__(self, notify: ActionNotify, now: float) -> None:
        self._notify = notify
        self.deadline = now + notify.timeout_ms / 1000

    def receive(self, answer: ActionResponse) -> Voted | None:
        """The outcome, or None: an answer to something else."""
        if answer.invocation_id != self._notify.invocation_id:
            return None
        return self._outcome(answer.vote_result, answer.log_msg)

    def time_out(self) -> Voted:
        """The outcome when nobody answered."""
        return self._outcome(VoteResult.TIMEOUT, "no answer in time")

    def _outcome(self, result: str, log_msg: str) -> Voted:
        revocable = self._notify.notification_type == NotificationType.REVOCABLE
        return Voted(
            invocation_id=self._notify.invocation_id,
            event_type=self._notify.event_type,
            refused=revocable and result == VoteResult.REJECT,
            vote_result=clip_text(result, RESULT_LIMIT_BYTES),
            log_msg=clip_text(log_msg, LOG_MSG_LIMIT_BYTES),
        )
