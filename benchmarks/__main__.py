"""`python -m benchmarks [NAME ...]`: runs benchmarks, prints the tables, writes build/bench.json.

One that breaks is told of, and the others go on; then the exit status is 1.
"""

import argparse
import sys
import time
import traceback

from benchmarks import broadcast, detection, faults, guest, heartbeat, page
from benchmarks.results import Result, show, write

BENCHMARKS = {
    "heartbeat": heartbeat.run,
    "detection": detection.run,
    "broadcast": broadcast.run,
    "faults": faults.run,
    "guest": guest.run,
    "page": page.run,
}


def main() -> int:
    parser = argparse.ArgumentParser("make bench", description="BENCH='NAME ...' runs some only.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    names = parser.parse_args().names or list(BENCHMARKS)
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    results: list[Result] = []
    failed = []
    for name in names:
        began = time.monotonic()
        try:
            results += BENCHMARKS[name]()
        except Exception:
            traceback.print_exc()
            failed.append(name)
        print(f"{name}: took {time.monotonic() - began:.0f} s", flush=True)
        write(results, failed)  # what has been measured outlives what comes next
    show(results)
    if failed:
        print(f"broken: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
