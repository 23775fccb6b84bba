"""A TCP socket to listen on, whose connections answer at once."""

import socket

BACKLOG = 256  # for the servers, which listen


def bound_socket(host: str, port: int, kind: type[socket.socket] = socket.socket) -> socket.socket:
    """Raises `OSError` when the port can't be had. `host`: an IPv4 or IPv6 address.

    asyncio's servers make it listen; who comes before that is refused, and need not wait.
    asyncio turns Nagle's algorithm off for sockets whose protocol says TCP, and accepted
    sockets inherit that from the listener. `socket.create_server` leaves it out, which costs
    a message that follows another one up to 40 ms.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = kind(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    return listener
