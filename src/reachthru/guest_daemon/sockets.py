"""UNIX stream sockets: connecting without blocking, listening where a dead one was left."""

import errno
import os
import socket
import stat


def connect(path: str) -> socket.socket:
    """A connection to who listens at `path`. Never blocks. Raises `OSError`."""
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        peer.setblocking(False)
        peer.connect(path)
    except OSError:
        peer.close()
        raise
    return peer


def listen(path: str, mode: int | None = None, backlog: int = 1) -> socket.socket:
    """A listening socket at `path`, in place of a stale one. Raises `OSError`.

    With somebody listening there, and with anything there but a socket: EADDRINUSE.
    """
    _clear(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.setblocking(False)
        if mode is not None:
            # On the socket before bind, as a chmod afterwards leaves a moment open to everyone.
            os.fchmod(listener.fileno(), mode)
        listener.bind(path)
        if mode is not None:
            os.chmod(path, mode)  # and past the umask
        listener.listen(backlog)
    except OSError:
        listener.close()
        raise
    return listener


def _clear(path: str) -> None:
    try:
        is_socket = stat.S_ISSOCK(os.lstat(path).st_mode)
    except FileNotFoundError:
        return
    if not is_socket:
        raise OSError(errno.EADDRINUSE, "there is a file here that is no socket")
    try:
        connect(path).close()
    except ConnectionRefusedError:
        os.unlink(path)
    except BlockingIOError:
        raise OSError(errno.EADDRINUSE, "another process listens here") from None
    else:
        raise OSError(errno.EADDRINUSE, "another process listens here")
