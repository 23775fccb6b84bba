"""The demo in a terminal: a spinner while something goes on, a line when it is done. Where the
output is no terminal, the same as plain lines."""

import time
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.status import Status
from rich.table import Table

from reachthru.demo.scenario import Stages, Step

_INDENT = "    "
_TITLES = {
    "registration": "registration",
    "heartbeats": "steady heartbeats",
    "unhealthy": "a health check turns bad",
    "recovered": "made good again",
    "kernel_panic": "kernel panic",
    "qemu_killed": "QEMU killed",
    "broadcast": "a broadcast without a network",
    "member_lost": "a member of the group dies",
}


class TerminalView:
    """Not for use by two threads at once."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._titles = dict(_TITLES)
        self._status: Status | None = None
        self._started_at = time.monotonic()

    def be_simulated(self, why: str) -> None:
        """Says that there is no VM, and from now on what stands for what."""
        self.say(f"[yellow]Simulated port, for want of a VM:[/] {why}")
        self._titles["kernel_panic"] += " (simulated: the guest daemon is stopped)"
        for step in ("qemu_killed", "member_lost"):
            self._titles[step] += " (simulated: the port's owner is killed)"

    def begin(self, step: str, doing: str) -> None:
        self._wait_for(f"[bold]{self._titles.get(step, step)}[/]: {doing}")

    def note(self, text: str) -> None:
        self._wait_for(text)

    def end(self, step: Step, text: str) -> None:
        self.close()
        mark = "[green]✓[/]" if step.ok else "[red]✗[/]"
        self._print(f"{mark} {self._clock()}  [bold]{self._titles[step.name]}[/]: {text}")

    def show_fault(self, fault: dict[str, Any], stages: Stages) -> None:
        table = Table(box=None, padding=(0, 2), header_style="dim", pad_edge=False)
        columns = {
            "happened": stages.injury_ms,
            "last good": stages.last_good_ms,
            "deadline": stages.deadline_ms,
            "detected": 0.0,
            "controller": stages.controller_ms,
            "consumer": stages.consumer_ms,
        }
        for title in columns:
            table.add_column(title, justify="right")
        table.add_row(*(_milliseconds(value) for value in columns.values()))
        if fault["detail"]:
            self._print(f"{_INDENT}[dim]{escape(fault['detail'])}[/]")
        self._console.print(Padding(table, (0, 0, 0, len(_INDENT))))

    def say(self, text: str) -> None:
        self.close()
        self._print(text)

    def fail(self, why: str, logs: list[str]) -> None:
        self.close()
        self._print(f"[red]✗ {self._clock()}  {escape(why)}[/]")
        for log in logs:
            self._print(f"[dim]{escape(log)}[/]")

    def close(self) -> None:
        """Ends the spinner."""
        if self._status is not None:
            self._status.stop()
            self._status = None

    def _wait_for(self, text: str) -> None:
        self.close()
        if self._console.is_terminal:
            self._status = self._console.status(f"{self._clock()}  {text} ...")
            self._status.start()
        else:
            self._print(f"  {self._clock()}  {text} ...")

    def _print(self, text: str) -> None:
        self._console.print(text, soft_wrap=True)

    def _clock(self) -> str:
        return f"{time.monotonic() - self._started_at:5.1f} s"


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:+.1f} ms" if value else "0"
