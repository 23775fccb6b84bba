"""What a running process has cost, from /proc."""

from pathlib import Path


def cpu_s(pid: int) -> float:
    """CPU seconds of all its threads so far, in the kernel's own nanoseconds.

    /proc/<pid>/stat counts whole ticks of 10 ms, too coarse for a process that mostly sleeps.
    """
    total_ns = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        total_ns += int((task / "schedstat").read_text().split()[0])
    return total_ns / 1e9


def rss_mib(pid: int) -> float:
    """Resident memory now."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise ProcessLookupError(pid)


def pss_mib(pid: int) -> float:
    """Resident memory now, with what it shares counted in parts."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise ProcessLookupError(pid)
