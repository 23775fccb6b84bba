"""One figure, the table of them, and `build/bench.json`."""

import json
import os
import platform
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

BENCH_JSON = Path("build/bench.json")


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


def write(results: list[Result]) -> None:
    """`build/bench.json`, in the shape that others read."""
    BENCH_JSON.parent.mkdir(exist_ok=True)
    report = {
        "machine": machine(),
        "commit": _output("git", "rev-parse", "HEAD"),
        "results": [{**asdict(result), "ratio": result.ratio} for result in results],
    }
    BENCH_JSON.write_text(json.dumps(report, indent=2) + "\n")


def show(results: list[Result]) -> None:
    table = Table(title="Benchmarks (ratio = value / reference, measured in the same run)")
    for column in ("what", "value", "unit", "reference", "ratio", "detail"):
        table.add_column(
            column, justify="right" if column in ("value", "reference", "ratio") else "left"
        )
    for result in results:
        table.add_row(
            result.name,
            f"{result.value:.1f}",
            result.unit,
            "" if result.reference is None else f"{result.reference:.1f}",
            "" if result.ratio is None else f"{result.ratio:.2f}",
            result.detail,
        )
    Console().print(table)


def machine() -> dict[str, str | int]:
    """What the figures were measured on."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return {
        "cpu": model,
        "cores": os.cpu_count() or 0,
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def percentile(ordered: list[float], share: float) -> float:
    """The value below which `share` (0 to 1) of the sorted values lie."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
