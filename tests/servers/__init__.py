"""Real servers for tests and benchmarks, from Debian's packages, in folders of their own."""
