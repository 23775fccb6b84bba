"""What the demo looks like where the output is no terminal."""

import io
import re

from rich.console import Console

from reachthru.demo.scenario import Stages, Step
from reachthru.demo.view import TerminalView

STAGES = Stages(
    last_good_ms=-400.5, deadline_ms=-1.5, controller_ms=None, consumer_ms=9.0, injury_ms=-612.0
)


def shown(play):
    output = io.StringIO()
    view = TerminalView(Console(file=output, highlight=False, width=80))
    play(view)
    view.close()
    return output.getvalue()


def test_plain_output_has_no_control_characters():
    text = shown(lambda view: (view.begin("heartbeats", "watching"), view.note("still")))
    assert "steady heartbeats: watching ..." in text
    assert "\x1b" not in text


def test_a_faults_stages_are_a_table_in_milliseconds():
    text = shown(lambda view: view.show_fault({"detail": "disk [full]"}, STAGES))
    header, row = text.splitlines()[-2:]
    titles = ["happened", "last good", "deadline", "detected", "controller", "consumer"]
    assert re.split(r"\s{2,}", header.strip()) == titles
    assert row.split() == ["-612.0", "ms", "-400.5", "ms", "-1.5", "ms", "0", "-", "+9.0", "ms"]
    assert "disk [full]" in text


def test_a_step_that_was_not_seen_is_not_ticked_off():
    assert "✗" in shown(lambda view: view.end(Step("unhealthy", ok=False), "nothing came"))
    assert "✓" in shown(lambda view: view.end(Step("unhealthy", ok=True), "seen"))


def test_without_a_vm_the_steps_say_what_stands_for_what():
    def play(view):
        view.be_simulated("no QEMU")
        view.end(Step("kernel_panic", ok=True), "seen")

    text = shown(play)
    assert "no QEMU" in text
    assert "kernel panic (simulated: the guest daemon is stopped)" in text
