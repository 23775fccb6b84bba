"""What an agent may say: of its own instances only. Pure.

The carrier proves which host a message is from. What that host may speak of is what it reports.
"""

from collections import OrderedDict

from reachthru.controller_server.groups.census import Census
from reachthru.protocol.agent_bus import AgentReport

# An agent that was cut off brings old faults of instances that have moved away meanwhile; its
# report, which takes them off it, may come first.
DEPARTED_S = 3600.0
DEPARTED_LIMIT = 100_000
REPORT_NUMBER_LIMIT = 2**31 - 1  # what a database column and a JSON reader take


class Standing:
    """Which host may report faults of which instance. Every `now` is monotonic seconds."""

    def __init__(self, census: Census) -> None:
        self._census = census
        self._departed: OrderedDict[tuple[str, str], float] = OrderedDict()

    def departed(self, host: str, uuid: str, now: float) -> None:
        """The host no longer reports the instance."""
        self._departed.pop((host, uuid), None)
        self._departed[host, uuid] = now
        while self._departed:
            at = next(iter(self._departed.values()))
            if now - at <= DEPARTED_S and len(self._departed) <= DEPARTED_LIMIT:
                break
            self._departed.popitem(last=False)

    def may_report(self, host: str, uuid: str, now: float) -> bool:
        """False: another host carries the instance, and this one has not carried it lately.

        An instance that no host has reported may be new, so anybody may speak of it.
        """
        if self._census.carries(host, uuid) or not self._census.is_carried(uuid):
            return True
        at = self._departed.get((host, uuid))
        return at is not None and now - at <= DEPARTED_S


def is_reasonable(report: AgentReport) -> bool:
    """Whether its numbers can be stored, and shown."""
    intervals = (seen.interval_ms or 0 for seen in report.instances)
    round_trips = (seen.round_trip_ms or 0 for seen in report.instances)
    numbers = (report.guests, *intervals, *round_trips)
    return all(0 <= number <= REPORT_NUMBER_LIMIT for number in numbers)
