"""Real servers for tests and benchmarks, from Debian's packages: on free ports, in folders of their own."""
