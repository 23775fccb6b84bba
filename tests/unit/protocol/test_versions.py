"""Neighbours one release apart read each other; those further apart say so."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import jsonschema
import msgspec
import pytest

from lab.release import GOLDEN, unpack
from reachthru import schemas
from reachthru.bus.inbox import Inbox
from reachthru.protocol import agent_bus
from reachthru.protocol.agent_bus import (
    FORMAT_VERSION,
    AgentMessage,
    ControllerMessage,
    decode_from_agent,
    decode_from_controller,
)
from reachthru.protocol.errors import GarbledError, TooNewError, UnknownTypeError

FILES = sorted(path.name for path in GOLDEN.glob("*.json"))
FROM_AGENTS = {str(cls.__struct_config__.tag): cls for cls in get_args(AgentMessage)}
FROM_CONTROLLERS = {str(cls.__struct_config__.tag): cls for cls in get_args(ControllerMessage)}
NEW_SINCE = {"fault_batch"}  # sent to nobody who has not said that it reads it

# Reads lines with the last release's own code; answers what it made of each.
READER = """
import sys
from reachthru.protocol import agent_bus
for line in sys.stdin.buffer:
    side, _, payload = line.strip().partition(b" ")
    read = agent_bus.decode_from_agent if side == b"agent" else agent_bus.decode_from_controller
    sys.stdout.buffer.write(agent_bus.encode(read(payload)) + b"\\n")
"""


def golden(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((GOLDEN / name).read_text())
    return loaded


def read(payload: bytes) -> Any:
    is_agents = json.loads(payload)["type"] in FROM_AGENTS
    return decode_from_agent(payload) if is_agents else decode_from_controller(payload)


def known_part(newer: Any, older: Any) -> Any:
    """`newer` with those keys only that `older` has, at every depth."""
    if isinstance(newer, dict) and isinstance(older, dict):
        return {key: known_part(newer[key], older[key]) for key in older}
    if isinstance(newer, list) and isinstance(older, list):
        return [known_part(*pair) for pair in zip(newer, older, strict=True)]
    return newer


def test_the_last_release_left_an_example_of_each_of_its_messages() -> None:
    today = set(FROM_AGENTS) | set(FROM_CONTROLLERS)
    assert {golden(name)["type"] for name in FILES} == today - NEW_SINCE


@pytest.mark.parametrize("name", FILES)
def test_what_the_last_release_said_is_read_and_means_the_same(name: str) -> None:
    said = golden(name)
    message = read((GOLDEN / name).read_bytes())
    again = json.loads(agent_bus.encode(message))
    assert known_part(again, said) == said
    jsonschema.validate(said, schemas.load(f"agent_bus.{said['type']}"))


def test_what_is_said_today_is_read_by_the_last_release_and_means_the_same(
    tmp_path: Path,
) -> None:
    """Each golden message as today's code would send it, every new field filled."""
    lines, sent = [], []
    for name in FILES:
        message = read((GOLDEN / name).read_bytes())
        message.v = FORMAT_VERSION
        for field in msgspec.structs.fields(message):
            if field.name not in golden(name):
                filled = {str: "x", int: 7, bool: False}[field.type]
                setattr(message, field.name, filled)
        side = b"agent " if message.__struct_config__.tag in FROM_AGENTS else b"controller "
        sent.append(agent_bus.encode(message))
        lines.append(side + sent[-1] + b"\n")
    done = subprocess.run(
        [sys.executable, "-c", READER],
        input=b"".join(lines),
        capture_output=True,
        env={"PYTHONPATH": str(unpack(tmp_path))},
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    for name, line, read_back in zip(FILES, sent, done.stdout.splitlines(), strict=True):
        understood, said = json.loads(read_back), json.loads(line)
        assert set(understood) == set(golden(name)), name
        assert understood == known_part(said, understood), name


def test_a_message_whose_type_nobody_knows_here_is_not_garbage() -> None:
    payload = b'{"type":"invented_later","v":2,"more":[1,2]}'
    for decode in (decode_from_agent, decode_from_controller):
        with pytest.raises(UnknownTypeError, match="'invented_later'"):
            decode(payload)


def test_a_message_in_the_wrong_direction_is_garbage() -> None:
    with pytest.raises(GarbledError):
        decode_from_controller(b'{"type":"offline","v":1,"host":"h","clean":true}')


@pytest.mark.parametrize("ahead", [0, 1])
def test_a_neighbour_that_is_one_format_ahead_is_read(ahead: int) -> None:
    message = decode_from_controller(
        b'{"type":"fault_ack","v":%d,"seqs":[1],"new":{"a":1}}' % (FORMAT_VERSION + ahead)
    )
    assert message.v == FORMAT_VERSION + ahead


@pytest.mark.parametrize(
    "body", [b'"type":"fault_ack","seqs":[1]', b'"type":"fault_ack"', b'"type":"invented_later"']
)
def test_one_that_is_further_ahead_is_not_read_whatever_it_says(body: bytes) -> None:
    with pytest.raises(TooNewError, match=f"version {FORMAT_VERSION + 2}"):
        decode_from_controller(b'{%s,"v":%d}' % (body, FORMAT_VERSION + 2))


@pytest.mark.parametrize("payload", [b"{}", b"[]", b'{"type":5}', b'{"type":"fault_ack","v":"x"}'])
def test_garbage_is_garbage(payload: bytes) -> None:
    with pytest.raises(GarbledError):
        decode_from_controller(payload)


def test_what_is_skipped_is_said_once_and_counted_by_its_reason(
    caplog: pytest.LogCaptureFixture,
) -> None:
    inbox: Inbox[Any] = Inbox()
    for _ in range(5):
        inbox.receive("host-a", b'{"type":"invented_later"}', decode_from_agent)
        inbox.receive("host-a", b'{"type":"offline","v":99}', decode_from_agent)
    assert inbox.refused == {"unknown_type": 5, "too_new": 5}
    assert len(caplog.messages) == 2
