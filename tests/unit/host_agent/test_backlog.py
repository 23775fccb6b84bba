"""What waits for controllers is said soon, then seldom, and once more when it is over."""

import itertools

from reachthru.host_agent.backlog import AGAIN_AFTER_MAX_S, FIRST_AFTER_S, Backlog


def said(backlog: Backlog, seconds: range, waiting: int, oldest: int) -> list[tuple[int, str]]:
    lines = []
    for now in seconds:
        line = backlog.look(waiting, oldest, connected=False, now=float(now))
        if line is not None:
            lines.append((now, line))
    return lines


def test_nothing_is_said_while_nothing_waits() -> None:
    assert said(Backlog(), range(10_000), 0, 0) == []


def test_nothing_is_said_while_changes_come_and_go() -> None:
    backlog = Backlog()
    for now in range(1000):
        assert backlog.look(500, now + 1, connected=True, now=float(now)) is None


def test_what_waits_is_said_after_a_while_and_then_less_and_less_often() -> None:
    lines = said(Backlog(), range(5000), 7, 3)
    moments = [now for now, _ in lines]
    assert moments[:4] == [10, 20, 40, 80]
    gaps = [later - earlier for earlier, later in itertools.pairwise(moments)]
    assert max(gaps) == AGAIN_AFTER_MAX_S
    assert lines[0][1].startswith("7 fault changes wait since 10 s: the broker is away;")


def test_a_broker_without_a_controller_is_another_story() -> None:
    backlog = Backlog()
    backlog.look(1, 1, connected=True, now=0.0)
    line = backlog.look(1, 1, connected=True, now=FIRST_AFTER_S)
    assert line is not None
    assert "no controller acknowledges them" in line


def test_the_end_is_said_once_if_the_beginning_was() -> None:
    backlog = Backlog()
    assert len(said(backlog, range(100), 7, 3)) == 4
    assert said(backlog, range(100, 200), 2, 8)[0] == (
        100,
        "controllers take faults again, after 100 s; 2 wait",
    )
    assert said(backlog, range(200, 205), 0, 0) == [
        (200, "controllers take faults again, after 100 s; 0 wait")
    ]
    assert said(backlog, range(205, 1000), 0, 0) == []
