"""Every change once, wherever it is heard of."""

from reachthru.controller_server.cluster.heard import OVERLAP_S, TAIL_PERIOD_S, HeardChanges
from reachthru.protocol.faults import FaultStatus

RAISED, CLEARED = FaultStatus.RAISED, FaultStatus.CLEARED


def read(heard, table, now):
    """As the tail does; returns what is new."""
    above = {id: key for id, key in table.items() if id > heard.floor}
    new = [key for _id, key in sorted(above.items()) if heard.is_new(key)]
    heard.tail_read(max(above, default=0), now)
    return new


def test_what_was_heard_is_not_new_in_the_table():
    heard = HeardChanges(0)
    assert heard.is_new(("a", RAISED))
    assert not heard.is_new(("a", RAISED))
    assert read(heard, {1: ("a", RAISED), 2: ("b", RAISED)}, 0.0) == [("b", RAISED)]


def test_each_row_is_new_once_however_long_the_tail_is_read():
    heard, table, found = HeardChanges(0), {}, []
    for turn in range(50):
        table[turn + 1] = (f"fault-{turn}", RAISED)
        found += read(heard, table, turn * TAIL_PERIOD_S)
    assert found == [(f"fault-{turn}", RAISED) for turn in range(50)]


def test_a_row_that_appears_below_others_is_found():
    heard, table = HeardChanges(0), {10: ("late", RAISED), 11: ("early", RAISED)}
    assert read(heard, {11: table[11]}, 0.0) == [("early", RAISED)]
    assert read(heard, {11: table[11]}, OVERLAP_S - TAIL_PERIOD_S) == []
    assert read(heard, table, OVERLAP_S - 1) == [("late", RAISED)]


def test_what_is_remembered_is_bounded():
    heard, table = HeardChanges(0), {}
    for turn in range(100):
        table[turn + 1] = (f"fault-{turn}", RAISED)
        read(heard, table, turn * TAIL_PERIOD_S)
    assert len(heard._keys) <= OVERLAP_S / TAIL_PERIOD_S + 1
    assert heard.floor >= 100 - OVERLAP_S / TAIL_PERIOD_S - 1


def test_a_clearing_that_overtakes_its_raise_ends_it():
    heard = HeardChanges(0)
    assert heard.is_new(("a", CLEARED))
    assert not heard.is_new(("a", RAISED))
