"""What arrives is judged before it is kept."""

import pytest

from reachthru.bus import inbox
from reachthru.bus.inbox import Inbox
from reachthru.protocol.errors import GarbledError


def refuse(_payload):
    raise GarbledError("never")


async def everything(box):
    box.close()
    return [item async for item in box.items()]


async def test_what_is_good_is_kept_in_order():
    box = Inbox()
    for payload in (b"1", b"2", b"3"):
        box.receive("peer", payload, int)
    assert await everything(box) == [1, 2, 3]


async def test_a_full_inbox_drops_the_newest_and_counts_it(caplog):
    box = Inbox(limit=3)
    for payload in (b"1", b"2", b"3", b"4", b"5"):
        box.receive("peer", payload, int)
    assert box.refused == {"overflow": 2}
    assert len(caplog.messages) == 1


async def test_a_payload_of_any_size_is_not_even_decoded(monkeypatch):
    monkeypatch.setattr(inbox, "PAYLOAD_LIMIT_BYTES", 8)
    box = Inbox()
    box.receive("peer", b"123456789", int)
    box.receive("peer", b"12345678", int)
    assert box.refused == {"garbled": 1}
    assert await everything(box) == [12345678]


def test_complaints_are_one_a_source_and_bounded(caplog, monkeypatch):
    monkeypatch.setattr(inbox, "COMPLAINTS_LIMIT", 5)
    box = Inbox()
    for number in range(20):
        box.receive(f"peer-{number}", b"", refuse)
        box.receive(f"peer-{number}", b"", refuse)
    assert box.refused == {"garbled": 40}
    assert len(caplog.messages) == 5


async def test_a_full_inbox_can_still_be_closed():
    box = Inbox(limit=2)
    box.receive("peer", b"1", int)
    box.receive("peer", b"2", int)
    assert await everything(box) == [2]


@pytest.mark.parametrize("payload", [b"\xff", b"{", b"[]", b"null"])
async def test_bytes_never_raise(payload):
    box = Inbox()
    box.receive("peer", payload, lambda body: inbox.decode_from("h", body))
    assert box.refused == {"garbled": 1}
