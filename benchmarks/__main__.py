"""Runs all benchmarks, prints the table, writes build/bench.json."""

from benchmarks import broadcast, detection, faults, heartbeat, page
from benchmarks.results import show, write

results = [*heartbeat.run(), *detection.run(), *broadcast.run(), *faults.run(), *page.run()]
write(results)
show(results)
