"""What is measured of a guest program, wherever it runs, beside the reference."""

from dataclasses import dataclass

from benchmarks.results import Result, percentile


@dataclass(frozen=True)
class Figures:
    """One program's. `started_ms`: of each start, sorted; CPU is in percent of a core, by interval
    in ms.
    """

    started_ms: list[float]
    rss_mib: float
    pss_mib: float
    cpu_percent: dict[int, float]


def results(
    ours: Figures, floor: Figures, *, start: str, where: str = "", note: str = ""
) -> list[Result]:
    """`where` ends each name, `note` begins each detail, `start` says what a start is."""
    memory = f"Pss {ours.pss_mib:.1f}, reference {floor.pss_mib:.1f}"
    return [
        Result(f"guest_rss{where}", ours.rss_mib, "MiB", floor.rss_mib, note + memory),
        Result(
            f"guest_start{where}",
            percentile(ours.started_ms, 0.5),
            "ms",
            percentile(floor.started_ms, 0.5),
            f"{note}{start}; fastest {ours.started_ms[0]:.0f}",
        ),
        *(
            Result(
                f"guest_cpu.{ms}ms{where}",
                percent,
                "%",
                floor.cpu_percent[ms],
                f"{note}of a core; {percent * ms * 10:.0f} us a challenge",
            )
            for ms, percent in ours.cpu_percent.items()
        ),
    ]
