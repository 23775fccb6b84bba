"""What a peer can do wrong.

Nothing that a peer sends raises anything but a `PeerError`, and no core lets one out:
a core turns it into an event. The tree::

    PeerError                 a line that is not a message; costs that line only
    +-- LineTooLongError      more bytes than the line cap, dropped unread
    +-- NotJsonError          not UTF-8, not JSON, not an object, or nested too deeply
    +-- BadEnvelopeError      the base layer is wrong: a missing key, a version that nobody speaks
    +-- UnknownAddressError   a `dest_addr` that no application here has
    +-- BadMessageError       the application's message is wrong
    |   +-- NotAskedError     it is right, and its application is not to serve this guest
    +-- GarbledError          on the agent bus: not a message at all
    +-- UnknownTypeError      on the agent bus: of a type that a newer neighbour may know
    +-- TooNewError           on the agent bus: of a format more than one version ahead
"""


class PeerError(Exception):
    """A line that is not a message.

    `reason` is a short, stable word for counters; `str(error)` is for people.
    """

    reason = "peer_error"


class LineTooLongError(PeerError):
    reason = "line_too_long"


class NotJsonError(PeerError):
    reason = "not_json"


class BadEnvelopeError(PeerError):
    """The base layer is wrong. `source_addr` is whom to tell, where it could be read."""

    reason = "bad_envelope"

    def __init__(self, text: str, source_addr: str | None = None) -> None:
        super().__init__(text)
        self.source_addr = source_addr


class UnknownAddressError(BadEnvelopeError):
    reason = "unknown_address"


class BadMessageError(PeerError):
    """The application's message is wrong. `source_addr` is whom to tell."""

    reason = "bad_message"
    msg_type = "unknown"

    def __init__(self, text: str, source_addr: str) -> None:
        super().__init__(text)
        self.source_addr = source_addr


class NotAskedError(BadMessageError):
    """A message of an application that nobody asked to serve this guest with."""

    reason = "not_asked"

    def __init__(self, text: str, source_addr: str, msg_type: str) -> None:
        super().__init__(text, source_addr)
        self.msg_type = msg_type


class GarbledError(PeerError):
    reason = "garbled"


class UnknownTypeError(PeerError):
    reason = "unknown_type"


class TooNewError(PeerError):
    reason = "too_new"
