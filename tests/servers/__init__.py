"""Real servers for tests and benchmarks, from Debian's packages, on free ports."""
