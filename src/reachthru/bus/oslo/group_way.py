"""Which way an agent's group messages take to controllers that may be older than it."""

# Longer than an agent waits for an answer (`group_port.ANSWER_LIMIT_S`).
SILENCE_S = 1.0


class GroupWay:
    """Through the queue of the work until a controller says that it listens to the group messages'
    own queue (`GroupAck.own_queue`), and again once nobody answers there: that controller may have
    been the only one of its release.

    Pure: `now` is monotonic seconds.
    """

    def __init__(self) -> None:
        self._own_queue = False
        self._unanswered_since: float | None = None

    def ask(self, now: float) -> bool:
        """For one message: whether it goes through the queue of its own."""
        since = self._unanswered_since
        if since is not None and now - since > SILENCE_S:
            self._own_queue, self._unanswered_since = False, None
        if self._own_queue and self._unanswered_since is None:
            self._unanswered_since = now
        return self._own_queue

    def answered(self, *, own_queue: bool | None = None) -> None:
        """A controller has. `own_queue`: whether it listens there; None: it did not say."""
        self._unanswered_since = None
        if own_queue is not None:
            self._own_queue = own_queue
