"""A line to a message, and back. Bytes never raise anything but a `PeerError`."""

from enum import StrEnum
from typing import Literal

import msgspec
from msgspec import Raw, Struct

from reachthru.protocol.errors import (
    BadEnvelopeError,
    BadMessageError,
    NotJsonError,
    UnknownAddressError,
)
from reachthru.protocol.messages import (
    BASE_VERSIONS,
    HEARTBEAT_ADDR,
    HEARTBEAT_VERSION,
    SERVER_GROUP_ADDR,
    Envelope,
    HeartbeatMessage,
    Message,
    ServerGroupMessage,
)


class Dialect(StrEnum):
    """What a port carries (section 1)."""

    MUX = "mux"  # every application, each message in a base envelope
    BARE = "bare"  # heartbeat messages only, with no envelope


class Received(Struct, gc=False):
    """A message, and what its envelope said. On a bare port `base_version` is None."""

    message: Message
    source_addr: str
    base_version: int | None
    dest_addr: str = ""


class _HeartbeatLine(Struct, gc=False):
    """A heartbeat message as nearly all come: from that application to that application."""

    version: Literal[1, 2]
    source_addr: Literal["cgcs.heartbeat"]
    dest_addr: Literal["cgcs.heartbeat"]
    data: HeartbeatMessage


class _Outgoing(Struct):
    version: int
    source_addr: str
    dest_addr: str
    data: Message


class _FromApplication(Struct):
    """Section 6: what an application of the guest sends to its daemon."""

    version: int
    dest_addr: str
    data: Raw


class _ToApplication(Struct):
    """Section 6: what the daemon sends to an application of the guest."""

    version: int
    source_addr: str
    data: Message


_encoder = msgspec.json.Encoder()
_envelope_decoder = msgspec.json.Decoder(Envelope)
_heartbeat_line_decoder = msgspec.json.Decoder(_HeartbeatLine)
_datagram_decoder = msgspec.json.Decoder(_FromApplication)
_heartbeat_decoder: msgspec.json.Decoder[HeartbeatMessage] = msgspec.json.Decoder(HeartbeatMessage)
_server_group_decoder: msgspec.json.Decoder[ServerGroupMessage] = msgspec.json.Decoder(
    ServerGroupMessage
)
_string_decoder = msgspec.json.Decoder(str)
_object_decoder = msgspec.json.Decoder(dict[str, Raw])

_APPLICATIONS = (HEARTBEAT_ADDR, SERVER_GROUP_ADDR)
_HEARTBEAT_SIGN = HEARTBEAT_ADDR.encode()
_NOT_DECODED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def decode(line: bytes, dialect: Dialect, *, from_host: bool = False) -> Received:
    """One line, without its newline. Raises `PeerError`.

    What a guest sends is for the application that `dest_addr` names. What a host sends is from
    the one that `source_addr` names: its `dest_addr` may be a socket in the guest (section 6).
    """
    if dialect is Dialect.BARE:
        return Received(
            _decode_heartbeat(line, HEARTBEAT_ADDR), HEARTBEAT_ADDR, None, HEARTBEAT_ADDR
        )
    if _HEARTBEAT_SIGN in line:
        try:
            found = _heartbeat_line_decoder.decode(line)
        except _NOT_DECODED:
            pass  # the way below takes it, or says what is wrong
        else:
            if found.data.version == HEARTBEAT_VERSION:
                return Received(found.data, HEARTBEAT_ADDR, found.version, HEARTBEAT_ADDR)
    try:
        envelope = _envelope_decoder.decode(line)
    except _NOT_DECODED as error:
        raise _envelope_error(line, error) from error
    source_addr, dest_addr = envelope.source_addr, envelope.dest_addr
    address = dest_addr
    if from_host and dest_addr not in _APPLICATIONS:
        address = source_addr
    opened = _open(envelope.version, address, bytes(envelope.data), source_addr)
    return Received(opened, source_addr, envelope.version, dest_addr)


def encode(
    message: Message,
    dialect: Dialect,
    base_version: int = 1,
    dest_addr: str | None = None,
    source_addr: str | None = None,
) -> bytes:
    """The message as one line, not framed. Both addresses are its own application's by default."""
    if dialect is Dialect.BARE:
        return _encoder.encode(message)
    address = message.address
    return _encoder.encode(
        _Outgoing(base_version, source_addr or address, dest_addr or address, message)
    )


def decode_datagram(datagram: bytes, source_addr: str) -> Received:
    """What the guest's application `source_addr` sent to its daemon. Raises `PeerError`."""
    try:
        found = _datagram_decoder.decode(datagram)
    except _NOT_DECODED as error:
        raise _envelope_error(datagram, error, source_addr) from error
    message = _open(found.version, found.dest_addr, bytes(found.data), source_addr)
    return Received(message, source_addr, found.version, found.dest_addr)


def encode_datagram(message: Message) -> bytes:
    """What the guest's daemon sends to an application: always base version 2, as they check it."""
    return _encoder.encode(_ToApplication(2, message.address, message))


def _open(version: int, address: str, data: bytes, source_addr: str) -> Message:
    """The message for (or from) the application `address`."""
    if version not in BASE_VERSIONS:
        raise BadEnvelopeError(f"base version {version} is not supported; 1 and 2 are", source_addr)
    if data.startswith(b'"'):
        data = _unquote(data, source_addr)
    if address == HEARTBEAT_ADDR:
        return _decode_heartbeat(data, source_addr)
    if address == SERVER_GROUP_ADDR:
        return _decode_server_group(data, source_addr)
    raise UnknownAddressError(f"no application {_quoted(address)} here", source_addr)


def _decode_heartbeat(data: bytes, source_addr: str) -> HeartbeatMessage:
    try:
        message = _heartbeat_decoder.decode(data)
    except _NOT_DECODED as error:
        raise _message_error(data, source_addr, error) from error
    if message.version != HEARTBEAT_VERSION:
        raise BadMessageError(
            f"heartbeat version {message.version} is not supported; {HEARTBEAT_VERSION} is",
            source_addr,
        )
    return message


def _decode_server_group(data: bytes, source_addr: str) -> ServerGroupMessage:
    try:
        return _server_group_decoder.decode(data)
    except _NOT_DECODED as error:
        raise _message_error(data, source_addr, error) from error


def _unquote(data: bytes, source_addr: str) -> bytes:
    """`data` as a string that holds the JSON object, as some senders have it."""
    try:
        return _string_decoder.decode(data).encode()
    except (*_NOT_DECODED, UnicodeEncodeError) as error:
        raise BadEnvelopeError(f"data: {error}", source_addr) from error


def _envelope_error(
    line: bytes, error: Exception, source_addr: str | None = None
) -> NotJsonError | BadEnvelopeError:
    """Tells bytes that are not JSON from an object that is no envelope."""
    try:
        keys = _object_decoder.decode(line)
    except _NOT_DECODED:
        return NotJsonError(f"not a JSON object: {error}")
    if source_addr is not None:
        return BadEnvelopeError(str(error), source_addr)
    for key in ("source_addr", "dest_addr"):
        try:
            return BadEnvelopeError(str(error), _string_decoder.decode(keys[key]))
        except (KeyError, *_NOT_DECODED):
            continue
    return BadEnvelopeError(str(error))


def _message_error(
    data: bytes, source_addr: str, error: Exception
) -> NotJsonError | BadMessageError:
    try:
        _object_decoder.decode(data)
    except _NOT_DECODED:
        return NotJsonError(f"not a JSON object: {error}")
    return BadMessageError(str(error), source_addr)


def _quoted(text: str, limit_chars: int = 64) -> str:
    """A peer's word, safe to show."""
    return ascii(text if len(text) <= limit_chars else text[:limit_chars] + "...")
