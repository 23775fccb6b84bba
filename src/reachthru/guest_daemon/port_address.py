"""Where the port is: the URL in `[channel] port`, parsed without urllib (half a megabyte)."""

from msgspec import Struct

SERIAL_BAUDRATE = 115200


class PortAddress(Struct, frozen=True):
    scheme: str  # virtio, serial or unix
    path: str
    baudrate: int = SERIAL_BAUDRATE  # of a serial line

    def __str__(self) -> str:
        query = f"?baudrate={self.baudrate}" if self.scheme == "serial" else ""
        return f"{self.scheme}://{self.path}{query}"


def read_port_address(url: str) -> PortAddress:
    """Raises `ValueError` for what is no port."""
    scheme, _separator, rest = url.partition("://")
    path, question, query = rest.partition("?")
    if scheme not in ("virtio", "serial", "unix") or not path.startswith("/") or "\0" in path:
        raise ValueError("not a port")
    if not question:
        return PortAddress(scheme, path)
    key, _equals, value = query.partition("=")
    if scheme != "serial" or key != "baudrate":
        raise ValueError("only a serial line takes an option, its baudrate")
    if not (value.isascii() and value.isdigit() and len(value) < 9 and int(value) > 0):
        raise ValueError("a baudrate is a whole number")
    return PortAddress(scheme, path, int(value))
