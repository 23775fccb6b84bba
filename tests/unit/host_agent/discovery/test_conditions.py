"""Which of libvirt's states and events excuse a guest's silence."""

import pytest

from reachthru.protocol.faults import EXCUSED, Condition

libvirt = pytest.importorskip("libvirt")
conditions = pytest.importorskip("reachthru.host_agent.discovery.libvirt.conditions")


def constants(prefix: str) -> dict[str, int]:
    return {
        name.removeprefix(prefix): getattr(libvirt, name)
        for name in dir(libvirt)
        if name.startswith(prefix) and not name.endswith("_LAST")
    }


PAUSED = {
    "UNKNOWN": Condition.PAUSED_UNKNOWN,
    "USER": Condition.PAUSED_BY_USER,
    "MIGRATION": Condition.MIGRATING,
    "SAVE": Condition.SAVING,
    "DUMP": Condition.DUMPING,
    "IOERROR": Condition.IO_ERROR,
    "WATCHDOG": Condition.PAUSED_UNKNOWN,
    "FROM_SNAPSHOT": Condition.SNAPSHOT,
    "SHUTTING_DOWN": Condition.SHUTTING_DOWN,
    "SNAPSHOT": Condition.SNAPSHOT,
    "CRASHED": Condition.CRASHED,
    "STARTING_UP": Condition.STARTING_UP,
    "POSTCOPY": Condition.POST_COPY,
    "POSTCOPY_FAILED": Condition.POST_COPY_FAILED,
    "API_ERROR": Condition.PAUSED_UNKNOWN,
}


@pytest.mark.parametrize(("reason", "number"), constants("VIR_DOMAIN_PAUSED_").items())
def test_every_reason_to_be_paused_that_this_libvirt_knows(reason: str, number: int) -> None:
    assert conditions.of_state(libvirt.VIR_DOMAIN_PAUSED, number) is PAUSED[reason]


@pytest.mark.parametrize(("reason", "number"), constants("VIR_DOMAIN_SHUTOFF_").items())
def test_an_end_is_a_loss_only_where_qemu_crashed_or_failed(reason: str, number: int) -> None:
    condition = conditions.of_state(libvirt.VIR_DOMAIN_SHUTOFF, number)
    assert (condition is Condition.GONE) == (reason in ("CRASHED", "FAILED"))
    assert condition in EXCUSED or condition is Condition.GONE


def test_a_saved_domain_keeps_its_session_s_excuse() -> None:
    state = (libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_SAVED)
    assert conditions.of_state(*state) is Condition.SAVING
    event = (libvirt.VIR_DOMAIN_EVENT_STOPPED, libvirt.VIR_DOMAIN_EVENT_STOPPED_SAVED)
    assert conditions.of_event(*event) is Condition.SAVING


@pytest.mark.parametrize(("reason", "number"), constants("VIR_DOMAIN_RUNNING_").items())
def test_a_running_domain_is_running_unless_it_is_in_post_copy(reason: str, number: int) -> None:
    expected = {
        "POSTCOPY": Condition.POST_COPY,
        "POSTCOPY_FAILED": Condition.POST_COPY_FAILED,
    }.get(reason, Condition.RUNNING)
    assert conditions.of_state(libvirt.VIR_DOMAIN_RUNNING, number) is expected


def test_states_and_reasons_of_a_later_libvirt_are_no_excuse() -> None:
    assert conditions.of_state(libvirt.VIR_DOMAIN_PAUSED, 999) is Condition.PAUSED_UNKNOWN
    assert conditions.of_state(999, 0) is Condition.PAUSED_UNKNOWN


@pytest.mark.parametrize(("detail", "number"), constants("VIR_DOMAIN_EVENT_STOPPED_").items())
def test_a_stop_is_a_loss_only_where_qemu_crashed_or_failed(detail: str, number: int) -> None:
    condition = conditions.of_event(libvirt.VIR_DOMAIN_EVENT_STOPPED, number)
    assert (condition is Condition.GONE) == (detail in ("CRASHED", "FAILED"))


@pytest.mark.parametrize(("detail", "number"), constants("VIR_DOMAIN_EVENT_SUSPENDED_").items())
def test_a_suspension_excuses_unless_something_went_wrong(detail: str, number: int) -> None:
    condition = conditions.of_event(libvirt.VIR_DOMAIN_EVENT_SUSPENDED, number)
    blamed = ("IOERROR", "WATCHDOG", "API_ERROR", "POSTCOPY_FAILED")
    assert (condition in EXCUSED) == (detail not in blamed)


def test_events_about_definitions_say_nothing_about_running() -> None:
    for event in (libvirt.VIR_DOMAIN_EVENT_DEFINED, libvirt.VIR_DOMAIN_EVENT_STARTED):
        assert conditions.of_event(event, 0) is None
