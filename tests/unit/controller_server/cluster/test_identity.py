"""Who may speak for an instance."""

import pytest

from reachthru.controller_server.cluster.identity import (
    DEPARTED_S,
    Standing,
    is_reasonable,
)
from reachthru.controller_server.groups.census import Census


@pytest.fixture
def census(make_report):
    census = Census()
    census.take_report(make_report("a", "moves", host="compute-0"))
    census.take_report(make_report("b", "moves", host="compute-1"))
    return census


@pytest.mark.parametrize(
    ("host", "uuid", "may"),
    [
        ("compute-0", "a", True),
        ("compute-1", "a", False),
        ("compute-9", "a", False),
        ("compute-0", "moves", True),  # both hosts of a migration
        ("compute-1", "moves", True),
        ("compute-1", "nobody-knows", True),
    ],
)
def test_a_host_speaks_for_what_it_reports_and_for_what_nobody_does(census, host, uuid, may):
    assert Standing(census).may_report(host, uuid, 0.0) is may


def test_an_instance_that_moved_away_may_still_be_spoken_of_for_a_while(census, make_report):
    standing = Standing(census)
    census.take_report(make_report("a", host="compute-0"))
    assert not standing.may_report("compute-0", "moves", 0.0)
    standing.departed("compute-0", "moves", 0.0)
    assert standing.may_report("compute-0", "moves", DEPARTED_S - 1)
    assert not standing.may_report("compute-0", "moves", DEPARTED_S + 1)


def test_numbers_beyond_reason_are_seen(make_report):
    assert is_reasonable(make_report("a"))
    assert not is_reasonable(make_report("a", guests=10**30))
    assert not is_reasonable(make_report("a", guests=-1))
