"""A small real virtual machine to try reachthru on, and the demo that plays its failures."""
