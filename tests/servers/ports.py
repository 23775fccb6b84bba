"""Ports for servers that a test kills and starts again."""

import random
import socket

# Below those from which Linux takes one for who connects (net.ipv4.ip_local_port_range): while its
# server is away, nobody else has the port, and who tries to connect does not meet itself.
FIRST, LAST = 12_000, 32_000

_chance = random.SystemRandom()


def free_port(address: str = "127.0.0.1") -> int:
    while True:
        port = _chance.randrange(FIRST, LAST)
        try:
            socket.create_server((address, port)).close()
        except OSError:
            continue
        return port
