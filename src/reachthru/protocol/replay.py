"""Tells a replayed report from a new one."""

from collections import OrderedDict, deque

from msgspec import Struct, field

HOSTS_LIMIT = 10_000
PAST_EPOCHS = 8


class _Heard(Struct):
    epoch: str
    seq: int
    past: deque[str] = field(default_factory=lambda: deque(maxlen=PAST_EPOCHS))


class ReplayGuard:
    """Remembers the newest report of each host; memory is bounded, the longest silent go first.

    An agent starts a new epoch at each start and never goes back to an earlier one.
    """

    def __init__(self, hosts_limit: int = HOSTS_LIMIT) -> None:
        self._hosts_limit = hosts_limit
        self._heard: OrderedDict[str, _Heard] = OrderedDict()

    def is_new(self, host: str, epoch: str, seq: int) -> bool:
        """False: a replay, to be refused. `host` is who the carrier says it was.

        An older agent sends no epoch (""), and nothing can be told about its reports.
        """
        if not epoch:
            return True
        heard = self._heard.get(host)
        if heard is None:
            self._heard[host] = _Heard(epoch, seq)
            if len(self._heard) > self._hosts_limit:
                self._heard.popitem(last=False)
            return True
        self._heard.move_to_end(host)
        if epoch == heard.epoch:
            if seq <= heard.seq:
                return False
        elif epoch in heard.past:
            return False
        else:
            heard.past.append(heard.epoch)
            heard.epoch = epoch
        heard.seq = seq
        return True
