"""One figure, the table of them, and `build/bench.json`."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.goals import Goal, goal_of
from benchmarks.machine import machine, source

BENCH_JSON = Path("build/bench.json")
# What the first word of a result's name says, up to its first "_".
GROUPS = {
    "heartbeat": "Heartbeat: what a round trip costs the host agent",
    "lateness": "Heartbeat: what a round trip costs the host agent",
    "agent": "Heartbeat: what a round trip costs the host agent",
    "detection": "Detection: from a guest's deadline to the fault",
    "broadcast": "Broadcast: from guest to guest",
    "raw": "Faults: from the agent's outbox to the sinks",
    "fault": "Faults: from the agent's outbox to the sinks",
    "report": "Reports and storms",
    "storm": "Reports and storms",
    "guest": "Guest daemon",
    "page": "The operator's page",
}
PLAIN_WIDTH_CHARS = 150  # where it is no terminal that is printed to


@dataclass(frozen=True)
class Result:
    """`reference` is what the same run measured beside `value`, in the same unit."""

    name: str
    value: float
    unit: str
    reference: float | None = None
    detail: str = ""

    @property
    def ratio(self) -> float | None:
        return None if not self.reference else round(self.value / self.reference, 2)

    @property
    def goal(self) -> Goal | None:
        return goal_of(self.name)

    @property
    def met(self) -> bool | None:
        """None where there is no goal."""
        return None if self.goal is None else self.goal.is_met(self.value, self.ratio)

    @property
    def group(self) -> str:
        first = self.name.partition(".")[0].partition("_")[0]
        return GROUPS.get(first, first.capitalize())


def report(results: Sequence[Result], failed: Sequence[str] = ()) -> dict[str, Any]:
    """What `build/bench.json` has. `failed` names the benchmarks that broke."""
    return {
        "machine": machine(),
        **source(),
        "failed": list(failed),
        "results": [
            {
                **asdict(result),
                "ratio": result.ratio,
                "goal": None if result.goal is None else asdict(result.goal),
                "met": result.met,
            }
            for result in results
        ],
    }


def write(results: Sequence[Result], failed: Sequence[str] = ()) -> None:
    BENCH_JSON.parent.mkdir(exist_ok=True)
    BENCH_JSON.write_text(json.dumps(report(results, failed), indent=2) + "\n")


def show(results: Sequence[Result], console: Console | None = None) -> None:
    """A table a group, and what of the goals was met."""
    console = console or Console()
    if not console.is_terminal:
        console.width = PLAIN_WIDTH_CHARS
    for group in dict.fromkeys(result.group for result in results):
        console.print(_table(group, [result for result in results if result.group == group]))
    console.print(_verdict(results), highlight=False)


def _table(title: str, results: Sequence[Result]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("what", no_wrap=True)
    for column in ("value", "reference", "ratio"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("goal", no_wrap=True)
    table.add_column("detail", ratio=1)
    for result in results:
        table.add_row(
            result.name,
            f"{_shown(result.value)} {result.unit}",
            "" if result.reference is None else _shown(result.reference),
            "" if result.ratio is None else f"{result.ratio:.2f}",
            _goal(result),
            result.detail,
        )
    return table


def _goal(result: Result) -> str:
    if result.goal is None:
        return ""
    verdict = "[green]met[/green]" if result.met else "[bold red]not met[/bold red]"
    return f"{result.goal}: {verdict}"


def _verdict(results: Sequence[Result]) -> str:
    with_goal = [result for result in results if result.met is not None]
    missed = [result.name for result in with_goal if not result.met]
    text = f"{len(with_goal) - len(missed)} of {len(with_goal)} goals met"
    if missed:
        text += f"; not met: {', '.join(missed)}"
    return (
        f"{text}.\nA ratio is value / reference, both measured in the same run; the goals are"
        f" for an idle machine. All figures: {BENCH_JSON}"
    )


def _shown(value: float) -> str:
    """Three digits that say something, and no exponent."""
    decimals = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    return f"{value:.{decimals}f}"


def percentile(ordered: list[float], share: float) -> float:
    """The value below which `share` (0 to 1) of the sorted values lie."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
