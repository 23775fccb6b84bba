"""Who tells which sink what, and when: claims. Functions of a connection, for its thread.

A pending delivery may be claimed once it is due, if no earlier one of its sink and lane is pending.
A claim has an owner and an end: `due_at`, so that a dead controller's claims are simply due again.
Whoever ends a delivery takes the next one of its lane with it. Those that wait behind another one
are put off when somebody meets them, so that no claim looks at all that waits.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any

from msgspec import Struct
from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    Row,
    Select,
    and_,
    bindparam,
    func,
    literal_column,
    or_,
    select,
    update,
)

from reachthru.controller_server.store.bulk import Statement, Update
from reachthru.controller_server.store.clock import now_s
from reachthru.controller_server.store.tables import (
    DONE,
    FAILED,
    PENDING,
    deliveries,
    fault_changes,
    faults,
    waits_in_lane,
)
from reachthru.protocol.faults import FaultStatus

# For what waits behind another one, and would be taken along with it.
BEHIND_S = 10.0
# Nothing is put off for so long: the clock was set back.
HORIZON_S = 300.0
_PASSES = 20  # over rows that turn out to wait behind another one, in one claim

# Literal, or no database would know that its partial indexes serve.
is_pending: ColumnElement[bool] = deliveries.c.state == literal_column(f"'{PENDING}'")
# The same, in words that only the index of lanes has. Before PostgreSQL has counted the rows of a
# burst it takes any index that knows the sink for as good, and would read all that is pending once
# for each row: 10,000 faults took 80 s.
_earlier = deliveries.alias("earlier")
_first_of_lane = (
    select(func.min(_earlier.c.change_id))
    .where(
        _earlier.c.sink == deliveries.c.sink,
        _earlier.c.lane == deliveries.c.lane,
        waits_in_lane(_earlier.c.state),
    )
    .scalar_subquery()
)
_is_behind = _first_of_lane < deliveries.c.change_id


_of_sink = deliveries.c.sink == bindparam("of_sink")


def _lock_where(is_due: ColumnElement[bool]) -> Select[tuple[int, bool]]:
    return (
        select(deliveries.c.change_id, _is_behind.label("is_behind"))
        .where(_of_sink, is_pending, is_due)
        .order_by(deliveries.c.due_at)
        .limit(bindparam("room", type_=Integer))
        .with_for_update(of=deliveries, skip_locked=True)
    )


# Made once: SQLAlchemy takes longer to make a statement than to have it executed.
_LOCK_DUE = _lock_where(deliveries.c.due_at <= bindparam("moment"))
_LOCK_AHEAD = _lock_where(deliveries.c.due_at > bindparam("moment"))
_TAKE = Statement(
    lambda among: (
        update(deliveries)
        .where(_of_sink, among(deliveries.c.change_id, "ids"))
        .values(claimed_by=bindparam("owner"), due_at=bindparam("until"))
    )
)
# For all sinks together: more than what is settled, where sinks have not ended the same changes.
_LOCK_MINE = Statement(
    lambda among: (
        select(deliveries.c.change_id, deliveries.c.sink, deliveries.c.lane, deliveries.c.done_ms)
        .where(
            among(deliveries.c.change_id, "ids"),
            among(deliveries.c.sink, "sinks"),
            deliveries.c.claimed_by == bindparam("owner"),
            is_pending,
        )
        .order_by(deliveries.c.change_id, deliveries.c.sink)
        .with_for_update()
    )
)
_FOLLOWING = Statement(
    lambda among: (
        select(
            deliveries.c.sink,
            deliveries.c.lane,
            func.min(deliveries.c.change_id).label("change_id"),
        )
        .where(
            among(deliveries.c.sink, "sinks"),
            among(deliveries.c.lane, "lanes"),
            waits_in_lane(deliveries.c.state),
        )
        .group_by(deliveries.c.sink, deliveries.c.lane)
    )
)
_LOCK_FREE = Statement(
    lambda among: (
        select(deliveries.c.change_id)
        .where(
            _of_sink,
            among(deliveries.c.change_id, "ids"),
            is_pending,
            or_(
                deliveries.c.due_at <= bindparam("moment"),
                # Put off for no other reason than that it waited.
                and_(deliveries.c.claimed_by.is_(None), deliveries.c.attempts == 0),
            ),
        )
        .order_by(deliveries.c.change_id)
        .with_for_update()
    )
)
_WRITE_OUTCOMES = Update(
    deliveries,
    ["change_id", "sink"],
    ["state", "attempts", "due_at", "claimed_by", "next_attempt_at", "last_error", "done_ms"],
)


class Claimer(Struct, frozen=True):
    """One sink's worker of one controller; what it claims is its own for `ttl_s`."""

    sink: str
    owner: str
    ttl_s: float


class Outcome(Struct, frozen=True, kw_only=True):
    """How one attempt to tell a sink ended. `state`: pending (there will be another), done, failed.

    `rest_s` is how long a pending one rests, until about `next_attempt_at`; `done_ms` is
    milliseconds from detection to the sink's first yes.
    """

    change_id: int
    sink: str
    state: str
    attempts: int
    rest_s: float = 0.0
    next_attempt_at: str | None = None
    last_error: str | None = None
    done_ms: float | None = None


class Backlog(Struct, frozen=True):
    """What a sink still has to be told. `oldest_s`: how long the oldest has been stored."""

    changes: int
    oldest_s: float


def claim(connection: Connection, claimer: Claimer, limit: int) -> list[int]:
    """Takes up to `limit` changes, each of another lane. It locks, and waits for nobody."""
    now = now_s(connection)
    claimed: list[int] = []
    for _ in range(_PASSES):
        room = limit - len(claimed)
        found = _lock_due(connection, _LOCK_DUE, claimer.sink, now, room)
        if not found:
            found = _lock_due(connection, _LOCK_AHEAD, claimer.sink, now + HORIZON_S, room)
        behind = [row.change_id for row in found if row.is_behind]
        heads = [row.change_id for row in found if not row.is_behind]
        _put_off(connection, claimer.sink, behind, now + BEHIND_S)
        _take(connection, claimer, heads, now)
        claimed += heads
        if len(found) < room or len(claimed) == limit:
            break
    return claimed


def settle(
    connection: Connection, settled: Sequence[tuple[Claimer, Sequence[Outcome]]]
) -> dict[str, list[int]]:
    """Writes outcomes down; claims, by sink, what is next in the lanes that may go on.

    The claimers are one owner's, each outcome of its claimer's sink. What another worker has
    claimed since is left alone: it will be told again.
    """
    now = now_s(connection)
    claimers = {claimer.sink: claimer for claimer, _ in settled}
    by_key = {
        (outcome.sink, outcome.change_id): outcome
        for _, outcomes in settled
        for outcome in outcomes
    }
    asked = {
        "ids": sorted({change_id for _sink, change_id in by_key}),
        "sinks": sorted(claimers),
        "owner": settled[0][0].owner,
    }
    mine = [
        (by_key[row.sink, row.change_id], row)
        for row in connection.execute(_LOCK_MINE.of(connection), asked)
        if (row.sink, row.change_id) in by_key
    ]
    _WRITE_OUTCOMES.execute(
        connection, [_outcome_row(outcome, row.done_ms, now) for outcome, row in mine]
    )
    ended = {(row.sink, row.lane) for outcome, row in mine if outcome.state in (DONE, FAILED)}
    return {
        sink: _take_free(connection, claimers[sink], change_ids, now)
        for sink, change_ids in _following(connection, ended).items()
    }


def _following(connection: Connection, lanes: set[tuple[str, str]]) -> dict[str, list[int]]:
    """By sink: what waits first in each of the (sink, lane)."""
    found: dict[str, list[int]] = defaultdict(list)
    if lanes:
        asked = {
            "sinks": sorted({sink for sink, _lane in lanes}),
            "lanes": sorted({lane for _sink, lane in lanes}),
        }
        for row in connection.execute(_FOLLOWING.of(connection), asked):
            if (row.sink, row.lane) in lanes:
                found[row.sink].append(row.change_id)
    return found


def _take_free(
    connection: Connection, claimer: Claimer, change_ids: list[int], now: float
) -> list[int]:
    """Claims those that nobody else has claimed."""
    asked = {"of_sink": claimer.sink, "ids": sorted(change_ids), "moment": now}
    free = connection.scalars(_LOCK_FREE.of(connection), asked).all()
    _take(connection, claimer, free, now)
    return list(free)


def give_back(
    connection: Connection, claimer: Claimer, change_ids: Collection[int] | None = None
) -> None:
    """The next worker need not wait for the claims' end. None: all of this worker's."""
    statement = (
        update(deliveries)
        .where(
            deliveries.c.sink == claimer.sink, is_pending, deliveries.c.claimed_by == claimer.owner
        )
        .values(claimed_by=None, due_at=now_s(connection))
    )
    if change_ids is not None:
        statement = statement.where(deliveries.c.change_id.in_(change_ids))
    connection.execute(statement)


def wake_resting(connection: Connection, sink: str) -> None:
    """What failed need not rest any longer."""
    connection.execute(
        update(deliveries)
        .where(
            deliveries.c.sink == sink,
            is_pending,
            deliveries.c.due_at > now_s(connection),
            deliveries.c.claimed_by.is_(None),
            deliveries.c.attempts > 0,
        )
        .values(due_at=0.0)
    )


def repeat_active(
    connection: Connection, sink: str, after_id: int, limit: int
) -> tuple[int, int | None]:
    """Makes `sink` hear again of faults that are active and that it was told of, in order of age.

    From behind change `after_id`. Returns how many it will hear of, and the change behind which
    there may be more, None after the last. A lane where something waits has its turn next time.
    """
    rows = connection.execute(
        select(faults.c.last_change_id, deliveries.c.lane)
        .join_from(faults, deliveries, deliveries.c.change_id == faults.c.last_change_id)
        .where(
            faults.c.status == FaultStatus.RAISED.value,
            faults.c.last_change_id > after_id,
            deliveries.c.sink == sink,
            deliveries.c.state == DONE,
        )
        .order_by(faults.c.last_change_id)
        .limit(limit)
        # A fault that is being cleared must not be raised again behind that.
        .with_for_update(of=faults, skip_locked=True)
    ).all()
    if not rows:
        return 0, None
    waiting = connection.scalars(
        select(deliveries.c.lane).where(
            deliveries.c.sink == sink,
            waits_in_lane(deliveries.c.state),
            deliveries.c.lane.in_({row.lane for row in rows}),
        )
    ).all()
    again = [row.last_change_id for row in rows if row.lane not in set(waiting)]
    connection.execute(
        update(deliveries)
        .where(deliveries.c.sink == sink, deliveries.c.change_id.in_(again))
        .values(state=PENDING, attempts=0, due_at=now_s(connection), claimed_by=None)
    )
    return len(again), rows[-1].last_change_id if len(rows) == limit else None


def count_pending(connection: Connection) -> dict[str, Backlog]:
    """By sink; a sink that was told everything is missing."""
    rows = connection.execute(
        select(
            deliveries.c.sink,
            func.count().label("changes"),
            func.min(deliveries.c.change_id).label("oldest"),
        )
        .where(is_pending)
        .group_by(deliveries.c.sink)
    ).all()
    stored_at = {
        row.id: row.stored_at
        for row in connection.execute(
            select(fault_changes.c.id, fault_changes.c.stored_at).where(
                fault_changes.c.id.in_([row.oldest for row in rows])
            )
        )
    }
    now = now_s(connection)
    return {
        row.sink: Backlog(row.changes, max(0.0, now - (stored_at.get(row.oldest) or now)))
        for row in rows
    }


def _lock_due(
    connection: Connection,
    statement: Select[tuple[int, bool]],
    sink: str,
    moment: float,
    room: int,
) -> Sequence[Row[tuple[int, bool]]]:
    asked = {"of_sink": sink, "moment": moment, "room": room}
    return connection.execute(statement, asked).all()


def _put_off(connection: Connection, sink: str, change_ids: list[int], until: float) -> None:
    if change_ids:
        new = {"owner": None, "until": until}
        connection.execute(_TAKE.of(connection), {"of_sink": sink, "ids": change_ids, **new})


def _take(connection: Connection, claimer: Claimer, change_ids: Sequence[int], now: float) -> None:
    if change_ids:
        new = {"owner": claimer.owner, "until": now + claimer.ttl_s}
        connection.execute(
            _TAKE.of(connection), {"of_sink": claimer.sink, "ids": list(change_ids), **new}
        )


def _outcome_row(outcome: Outcome, first_done_ms: float | None, now: float) -> dict[str, Any]:
    return {
        "change_id": outcome.change_id,
        "sink": outcome.sink,
        "state": outcome.state,
        "attempts": outcome.attempts,
        "due_at": now + outcome.rest_s,
        "claimed_by": None,
        "next_attempt_at": outcome.next_attempt_at,
        "last_error": outcome.last_error,
        "done_ms": outcome.done_ms if first_done_ms is None else first_done_ms,
    }
