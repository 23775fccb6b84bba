"""Runs all benchmarks, prints the table, writes build/bench.json."""

from benchmarks import broadcast, detection, heartbeat
from benchmarks.results import show, write

results = [*heartbeat.run(), *detection.run(), *broadcast.run()]
write(results)
show(results)
