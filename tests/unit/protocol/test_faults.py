from reachthru.protocol.faults import CATALOGUE, EXCUSED, Condition, FaultKind


def test_every_kind_of_fault_is_in_the_catalogue() -> None:
    assert set(CATALOGUE) == set(FaultKind)


def test_every_entry_says_what_it_is_and_what_clears_it() -> None:
    assert all(entry.title and entry.cleared_by for entry in CATALOGUE.values())


def test_a_domain_that_failed_by_itself_is_not_excused() -> None:
    failed = {
        Condition.IO_ERROR,
        Condition.CRASHED,
        Condition.POST_COPY_FAILED,
        Condition.PAUSED_UNKNOWN,
        Condition.GONE,
    }
    assert not failed & EXCUSED
    assert Condition.RUNNING not in EXCUSED
