"""Runs all benchmarks, prints the table, writes build/bench.json."""

from benchmarks import broadcast, detection, faults, heartbeat
from benchmarks.results import show, write

results = [*heartbeat.run(), *detection.run(), *broadcast.run(), *faults.run()]
write(results)
show(results)
