"""Bytes to lines: whatever a peer does, only its bad line is lost."""

import random

import pytest

from reachthru.protocol.errors import LineTooLongError
from reachthru.protocol.lines import LineBuffer, frame


def test_empty_lines_are_skipped() -> None:
    assert LineBuffer().feed(b"\n\n{}\n \r\n\n[]\n") == [b"{}", b"[]"]


def test_a_line_may_come_one_byte_at_a_time() -> None:
    buffer = LineBuffer()
    lines = [line for byte in frame(b'{"a":1}') for line in buffer.feed(bytes([byte]))]
    assert lines == [b'{"a":1}']


def test_an_unfinished_line_waits_for_its_end() -> None:
    buffer = LineBuffer()
    assert buffer.feed(b'\n{"a"') == []
    assert buffer.feed(b':1}\n{"b"') == [b'{"a":1}']


def test_a_sender_that_restarts_in_the_middle_of_a_line_costs_that_line_only() -> None:
    buffer = LineBuffer()
    assert buffer.feed(b'\n{"half' + frame(b'{"whole":1}')) == [b'{"half', b'{"whole":1}']


@pytest.mark.parametrize("chunk_bytes", [1, 7, 64, 1000])
def test_an_overlong_line_is_one_error_and_the_next_line_is_read(chunk_bytes: int) -> None:
    buffer = LineBuffer(limit_bytes=16)
    stream = b"x" * 100 + b"\ngood\n" + b"y" * 17 + b"\nfine\n"
    lines = []
    for start in range(0, len(stream), chunk_bytes):
        lines += buffer.feed(stream[start : start + chunk_bytes])
    assert [isinstance(line, LineTooLongError) or line for line in lines] == [
        True,
        b"good",
        True,
        b"fine",
    ]


def test_a_line_at_the_limit_passes() -> None:
    assert LineBuffer(limit_bytes=16).feed(b"x" * 16 + b"\n") == [b"x" * 16]


def test_a_line_that_never_ends_does_not_grow_the_memory() -> None:
    buffer = LineBuffer(limit_bytes=1000)
    reports = [line for _ in range(1000) for line in buffer.feed(b"z" * 900)]
    assert len(reports) == 1
    assert len(buffer._tail) <= 1000


def test_reset_forgets_what_the_peer_that_left_began() -> None:
    buffer = LineBuffer()
    buffer.feed(b'{"half')
    buffer.reset()
    assert buffer.feed(b"{}\n") == [b"{}"]


def test_any_split_gives_the_same_lines() -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    stream = b"".join(frame(b"m" * chance.randrange(1, 40)) for _ in range(200))
    whole = LineBuffer(limit_bytes=30).feed(stream)
    buffer = LineBuffer(limit_bytes=30)
    pieces = []
    position = 0
    while position < len(stream):
        size = chance.randrange(1, 60)
        pieces += buffer.feed(stream[position : position + size])
        position += size
    assert [str(piece) for piece in pieces] == [str(line) for line in whole]
