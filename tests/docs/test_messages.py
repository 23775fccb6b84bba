"""docs/spec/messages.md: its examples are what the codec reads and the schemas allow."""

import json
import re
from pathlib import Path

import jsonschema
import msgspec
import pytest

from reachthru import schemas
from reachthru.protocol import codec, messages
from reachthru.protocol.codec import Dialect

PAGE = (Path(__file__).parents[2] / "docs/spec/messages.md").read_text()
EXAMPLES = [json.loads(text) for text in re.findall(r"^```json\n(.*?)^```$", PAGE, re.M | re.S)]
APPLICATION = {
    True: ("heartbeat", messages.HEARTBEAT_ADDR),
    False: ("server_group", "cgcs.server_grp"),
}


def is_envelope(example):
    return "dest_addr" in example or "source_addr" in example


@pytest.mark.parametrize(
    "example", [one for one in EXAMPLES if not is_envelope(one)], ids=lambda one: one["msg_type"]
)
def test_an_example_is_valid_and_survives_the_codec(example):
    name, address = APPLICATION["version" in example]
    jsonschema.validate(example, schemas.load(f"{name}.{example['msg_type']}"))
    line = json.dumps({"version": 1, "source_addr": address, "dest_addr": address, "data": example})
    received = codec.decode(line.encode(), Dialect.MUX)
    assert msgspec.to_builtins(received.message) == example


@pytest.mark.parametrize("example", [one for one in EXAMPLES if is_envelope(one)])
def test_an_envelope_is_read(example):
    if "source_addr" in example and "dest_addr" in example:
        jsonschema.validate(example, schemas.load("envelope"))
        assert codec.decode(json.dumps(example).encode(), Dialect.MUX).message.sequence == 7
    elif "dest_addr" in example:
        read = codec.decode_datagram(json.dumps(example).encode(), "cgcs.server_grp")
        assert read.message.seq == 12
    else:
        done = messages.StatusResponseDone(seq=12)
        assert json.loads(codec.encode_datagram(done)) == example


def test_every_message_has_an_example_and_a_table():
    shown = {
        f"{APPLICATION['version' in one][0]}.{one['msg_type']}"
        for one in EXAMPLES
        if not is_envelope(one)
    }
    wire = {name for name in schemas.names() if name.startswith(("heartbeat.", "server_group."))}
    assert shown == wire
    assert set(re.findall(r"<!-- table: ((?:heartbeat|server_group)\.\w+) -->", PAGE)) == wire


def test_the_limits_are_the_codes():
    for limit in (
        messages.BROADCAST_LIMIT_BYTES,
        messages.GROUP_MESSAGE_LIMIT_BYTES,
        messages.HEARTBEAT_LIMIT_BYTES,
    ):
        assert str(limit) in PAGE
