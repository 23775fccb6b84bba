"""The host agent: finds one compute node's guests, heartbeats them, reports their faults."""
