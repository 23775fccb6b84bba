"""The base layer: envelopes, dialects, versions, refusals."""

import json
from typing import Any

import pytest

from reachthru.protocol.codec import Dialect, Received
from reachthru.protocol.errors import (
    BadEnvelopeError,
    BadMessageError,
    LineTooLongError,
    NotJsonError,
    PeerError,
    UnknownAddressError,
)
from reachthru.protocol.link import NACK_BURST, Link
from reachthru.protocol.messages import Challenge, ChallengeResponse, Exit

RESPONSE = {
    "version": 3,
    "revision": 1,
    "msg_type": "challenge_response",
    "sequence": 9,
    "heartbeat_response": 7,
    "heartbeat_health": "healthy",
    "corrective_action": "log",
    "log_msg": "",
}


def envelope(data: Any, **changes: Any) -> dict[str, Any]:
    base = {"version": 1, "source_addr": "cgcs.heartbeat", "dest_addr": "cgcs.heartbeat"}
    return {**base, "data": data, **changes}


def line(message: Any) -> bytes:
    return b"\n" + json.dumps(message).encode() + b"\n"


def only(things: list[Received | PeerError]) -> Received | PeerError:
    assert len(things) == 1
    return things[0]


def test_a_response_in_an_envelope_is_read() -> None:
    received = only(Link(Dialect.MUX).feed(line(envelope(RESPONSE))))
    assert isinstance(received, Received)
    assert isinstance(received.message, ChallengeResponse)
    assert received.message.heartbeat_response == 7


def test_data_may_be_a_string_that_holds_the_object() -> None:
    received = only(Link(Dialect.MUX).feed(line(envelope(json.dumps(RESPONSE)))))
    assert isinstance(received, Received)
    assert isinstance(received.message, ChallengeResponse)


def test_unknown_keys_are_ignored() -> None:
    message = envelope({**RESPONSE, "new_in_2030": {"a": [1]}}, colour="blue")
    assert isinstance(only(Link(Dialect.MUX).feed(line(message))), Received)


def test_a_bare_port_has_no_envelope() -> None:
    link = Link(Dialect.BARE)
    assert isinstance(only(link.feed(line(RESPONSE))), Received)
    assert json.loads(link.encode(Challenge(heartbeat_challenge=5)))["heartbeat_challenge"] == 5


def test_the_host_opens_in_version_1_and_then_follows_its_guest() -> None:
    link = Link(Dialect.MUX)
    assert json.loads(link.encode(Exit()))["version"] == 1
    link.feed(line(envelope(RESPONSE, version=2)))
    assert json.loads(link.encode(Exit()))["version"] == 2
    link.feed(line(envelope(RESPONSE, version=1)))
    assert json.loads(link.encode(Exit()))["version"] == 1


def test_a_new_peer_is_spoken_to_in_version_1_again() -> None:
    link = Link(Dialect.MUX)
    link.feed(line(envelope(RESPONSE, version=2)))
    link.reset()
    assert json.loads(link.encode(Exit()))["version"] == 1


BAD_LINES: list[tuple[bytes, type[PeerError]]] = [
    (b"hello", NotJsonError),
    (b"[1,2]", NotJsonError),
    (b"\xff\xfe{}", NotJsonError),
    (b"{" * 60_000, NotJsonError),
    (b'{"a":' * 10_000, NotJsonError),
    (b'{"version":NaN}', NotJsonError),
    (b"{}", BadEnvelopeError),
    (b'{"version":1e999}', BadEnvelopeError),
    (b'{"version":' + b"9" * 30_000 + b"}", BadEnvelopeError),
    (json.dumps(envelope(RESPONSE, version=3)).encode(), BadEnvelopeError),
    (json.dumps(envelope(RESPONSE, version=True)).encode(), BadEnvelopeError),
    (json.dumps(envelope(RESPONSE, source_addr=None)).encode(), BadEnvelopeError),
    (json.dumps(envelope(RESPONSE, dest_addr="cgcs.other")).encode(), UnknownAddressError),
    (json.dumps(envelope("{}")).encode(), BadMessageError),
    (json.dumps(envelope("not json")).encode(), NotJsonError),
    (json.dumps(envelope([1])).encode(), NotJsonError),
    (json.dumps(envelope({**RESPONSE, "msg_type": "dance"})).encode(), BadMessageError),
    (json.dumps(envelope({**RESPONSE, "version": 2})).encode(), BadMessageError),
    (json.dumps(envelope({**RESPONSE, "heartbeat_response": -1})).encode(), BadMessageError),
    (json.dumps(envelope({**RESPONSE, "heartbeat_response": 2**32})).encode(), BadMessageError),
    (json.dumps(envelope({**RESPONSE, "heartbeat_response": "7"})).encode(), BadMessageError),
    (b"x" * 70_000, LineTooLongError),
]


@pytest.mark.parametrize(("bad", "kind"), BAD_LINES, ids=lambda value: str(value)[:40])
def test_a_bad_line_is_one_error_and_the_next_line_is_read(
    bad: bytes, kind: type[PeerError]
) -> None:
    error, good = Link(Dialect.MUX).feed(bad + b"\n" + line(envelope(RESPONSE)))
    assert type(error) is kind
    assert isinstance(good, Received)


def refusal(link: Link, message: Any, now: float = 0.0) -> dict[str, Any] | None:
    error = only(link.feed(line(message)))
    assert isinstance(error, PeerError)
    nack = link.refuse(error, now)
    return None if nack is None else json.loads(nack)


def test_an_unknown_address_is_refused_to_the_senders_application() -> None:
    nack = refusal(Link(Dialect.MUX), envelope({}, source_addr="my.app", dest_addr="nobody"))
    assert nack is not None
    assert (nack["dest_addr"], nack["source_addr"]) == ("my.app", "cgcs.server_grp")
    assert (nack["data"]["msg_type"], nack["data"]["orig_msg_type"]) == ("nack", "unknown")
    assert "'nobody'" in nack["data"]["log_msg"]


def test_an_unsupported_version_is_refused_with_the_versions_that_are() -> None:
    nack = refusal(Link(Dialect.MUX), envelope(RESPONSE, version=7))
    assert nack is not None
    assert nack["data"]["log_msg"] == "base version 7 is not supported; 1 and 2 are"


def test_a_wrong_heartbeat_message_is_refused_by_the_heartbeat_application() -> None:
    nack = refusal(Link(Dialect.MUX), envelope({**RESPONSE, "msg_type": "dance"}))
    assert nack is not None
    assert nack["source_addr"] == nack["dest_addr"] == "cgcs.heartbeat"
    assert nack["data"]["msg_type"] == "nack"


def test_what_is_no_message_at_all_is_not_answered() -> None:
    assert refusal(Link(Dialect.MUX), [1]) is None


def test_refusals_are_rate_limited() -> None:
    link = Link(Dialect.MUX)
    nacks = [refusal(link, envelope({}, dest_addr="nobody"), now=1.0) for _ in range(100)]
    assert sum(nack is not None for nack in nacks) == NACK_BURST
    assert refusal(link, envelope({}, dest_addr="nobody"), now=3.0) is not None


@pytest.mark.parametrize("dialect", list(Dialect))
@pytest.mark.parametrize("base_version", [1, 2])
def test_a_challenge_is_written_as_any_message_is(dialect: Dialect, base_version: int) -> None:
    link = Link(dialect)
    link.base_version = base_version
    for sequence, number in ((1, 0), (2**31 - 1, 2**31 - 2)):
        challenge = Challenge(sequence=sequence, heartbeat_challenge=number)
        assert link.encode_challenge(challenge) == link.encode(challenge)


@pytest.mark.parametrize(
    "unusual",
    [
        {"data": json.dumps(RESPONSE)},
        {"source_addr": "somebody"},
        {"data": {**RESPONSE, "new": "cgcs.heartbeat"}, "new": [1, {"a": None}]},
    ],
    ids=["data-as-string", "another-sender", "unknown-keys"],
)
def test_an_unusual_heartbeat_line_is_the_same_message(unusual: dict[str, Any]) -> None:
    usual = only(Link(Dialect.MUX).feed(line(envelope(RESPONSE))))
    received = only(Link(Dialect.MUX).feed(line({**envelope(RESPONSE), **unusual})))
    assert isinstance(received, Received) and isinstance(usual, Received)
    assert received.message == usual.message
    assert received.source_addr == unusual.get("source_addr", "cgcs.heartbeat")


@pytest.mark.parametrize(
    ("wrong", "kind"),
    [
        ({"version": 3}, BadEnvelopeError),
        ({"dest_addr": "nobody"}, UnknownAddressError),
        ({"data": {**RESPONSE, "version": 4}}, BadMessageError),
        ({"data": {**RESPONSE, "heartbeat_response": -1}}, BadMessageError),
        ({"data": 5}, NotJsonError),
    ],
)
def test_what_is_wrong_with_a_heartbeat_line_is_said(wrong: dict[str, Any], kind: type) -> None:
    error = only(Link(Dialect.MUX).feed(line({**envelope(RESPONSE), **wrong})))
    assert isinstance(error, kind)
