"""The schemas and the typed messages are the same contract, held together in both directions."""

from typing import Any, get_args

import jsonschema
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from referencing import Registry

from reachthru import schemas
from reachthru.protocol import agent_bus, codec, controller_bus, messages
from reachthru.protocol.agent_bus import AgentMessage, ControllerMessage
from reachthru.protocol.codec import Dialect
from reachthru.protocol.messages import HeartbeatMessage, ServerGroupMessage

HEARTBEAT = {f"heartbeat.{cls.__struct_config__.tag}": cls for cls in get_args(HeartbeatMessage)}
SERVER_GROUP = {
    f"server_group.{cls.__struct_config__.tag}": cls for cls in get_args(ServerGroupMessage)
}
BUS = {
    f"agent_bus.{cls.__struct_config__.tag}": cls
    for cls in (*get_args(AgentMessage), *get_args(ControllerMessage))
}
BETWEEN_CONTROLLERS = {"controller_bus.news": controller_bus.ControllerNews}
TYPED = {**HEARTBEAT, **SERVER_GROUP, **BUS, **BETWEEN_CONTROLLERS}
REGISTRY = Registry().with_contents(schemas.by_id().items())

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
OBJECTS = st.dictionaries(st.text(), JSON, max_size=5)
ON_ONE_LINE = st.characters(exclude_characters="\n\0", exclude_categories=["Cs"])
BROADCASTS = st.text(ON_ONE_LINE, max_size=200) | st.just("x" * 3050)
COUNTS = st.integers(0, 2**63 - 1)
REPORTS = st.builds(
    agent_bus.InstanceReport,
    uuid=st.text(),
    name=st.text(),
    state=st.text(),
    registered=st.booleans(),
    interval_ms=st.none() | st.integers(0, 2**32 - 1),
    health=st.sampled_from(["healthy", "unhealthy", None]),
)
REFUSALS = st.builds(
    agent_bus.GroupRefusal,
    id=COUNTS,
    log_msg=st.text().map(lambda text: messages.clip_text(text, 224)),
)

# What holds typed objects, of which unknown keys and defaults are left out, or numbers.
NESTED = ("instances", "stages_ms", "refused", "changes")

# What our own code puts where the type alone allows more: a receiver takes more than we send.
NAMED: dict[str, st.SearchStrategy[Any]] = {
    "version": st.just(3),
    "v": st.sampled_from([1, 2]),
    "heartbeat_challenge": st.integers(0, messages.CHALLENGE_MAX),
    "heartbeat_health": st.from_type(messages.Health),
    "corrective_action": st.from_type(messages.CorrectiveAction),
    "event_type": st.from_type(messages.EventType),
    "notification_type": st.from_type(messages.NotificationType),
    "vote_result": st.from_type(messages.VoteResult),
    "log_msg": st.text().map(lambda text: messages.clip_text(text, 224)),
    "name": st.text().map(lambda text: messages.clip_text(text, 64)),
    "instances": st.lists(REPORTS, max_size=3),
    "stages_ms": st.dictionaries(st.text(), st.floats(-1e9, 1e9)),
    "group_losses": st.dictionaries(st.text(), st.dictionaries(st.text(), COUNTS), max_size=3),
    "seqs": st.lists(COUNTS, max_size=5),
    "taken": st.lists(COUNTS, max_size=5),
    "refused": st.lists(REFUSALS, max_size=3),
    "members": st.lists(OBJECTS, max_size=3),
}
NAMED["changes"] = st.lists(st.deferred(lambda: typed(agent_bus.FaultChange)), max_size=3)


def typed(cls: type[msgspec.Struct]) -> st.SearchStrategy[msgspec.Struct]:
    """Messages of one type, as our own code would make them."""
    fields = {field.name: value_of(field) for field in msgspec.structs.fields(cls)}
    return st.builds(cls, **fields)


def value_of(field: msgspec.structs.FieldInfo) -> st.SearchStrategy[Any]:
    if field.name in NAMED:
        return NAMED[field.name]
    if field.type == dict[str, Any]:
        return OBJECTS
    if field.name == "data":
        return BROADCASTS
    if "Meta" in str(field.type):  # a number of 32 bits
        return st.integers(0, 2**32 - 1)
    if field.type is int:
        return COUNTS
    if field.type is float:
        return st.floats(allow_nan=False, allow_infinity=False)
    return st.from_type(field.type)


def allowed(schema: Any) -> st.SearchStrategy[Any]:
    """Values that a schema of ours allows: just the keywords that our schemas use."""
    if schema is True:
        return JSON
    if "$ref" in schema:
        return allowed(schemas.by_id()[schema["$ref"]])
    if "const" in schema:
        return st.just(schema["const"])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return st.one_of([allowed_of(kind, schema) for kind in types])


def allowed_of(kind: str, schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    match kind:
        case "null":
            return st.none()
        case "boolean":
            return st.booleans()
        case "integer":
            return st.integers(schema["minimum"], schema["maximum"])
        case "number":
            return st.floats(allow_nan=False, allow_infinity=False)
        case "string" if "not" in schema:
            return st.text(ON_ONE_LINE, max_size=schema["maxLength"])
        case "string":
            return st.text(max_size=schema.get("maxLength"))
        case "array":
            return st.lists(allowed(schema["items"]), max_size=3)
        case "object" if "properties" in schema:
            fields = {key: allowed(value) for key, value in schema["properties"].items()}
            required = {key: fields.pop(key) for key in schema["required"]}
            known = st.fixed_dictionaries(required, optional=fields)
            unknown = st.dictionaries(st.text().map(lambda key: f"x-{key}"), st.integers())
            return st.builds(lambda left, right: {**right, **left}, known, unknown)
        case "object" if "additionalProperties" in schema:
            return st.dictionaries(st.text(), allowed(schema["additionalProperties"]))
        case "object":
            return OBJECTS
    raise AssertionError(f"a keyword that this generator does not know: {schema}")


def encode(message: Any) -> bytes:
    if hasattr(message, "address"):
        return codec.encode(message, Dialect.BARE)
    return agent_bus.encode(message)


def parse(name: str, line: bytes) -> Any:
    application = name.partition(".")[0]
    if application == "heartbeat":
        return codec.decode(line, Dialect.BARE).message
    if application == "server_group":
        envelope = {"version": 1, "source_addr": "a", "dest_addr": "cgcs.server_grp"}
        wrapped = msgspec.json.encode({**envelope, "data": msgspec.Raw(line)})
        return codec.decode(wrapped, Dialect.MUX).message
    if name in BETWEEN_CONTROLLERS:
        return controller_bus.decode_from_peer(line)
    if TYPED[name] in get_args(AgentMessage):
        return agent_bus.decode_from_agent(line)
    return agent_bus.decode_from_controller(line)


def test_every_message_has_a_schema_and_every_schema_a_message() -> None:
    assert set(schemas.names()) == set(TYPED) | {"envelope"}


@pytest.mark.parametrize("name", schemas.names())
def test_a_schema_is_one(name: str) -> None:
    schema = schemas.load(name)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_a_name_never_becomes_a_path() -> None:
    with pytest.raises(KeyError):
        schemas.load("../schemas/envelope")


@pytest.mark.parametrize("name", sorted(TYPED))
def test_what_we_send_is_what_the_schema_says(name: str) -> None:
    validator = jsonschema.Draft202012Validator(schemas.load(name), registry=REGISTRY)

    @settings(max_examples=60, deadline=None, database=None)
    @given(typed(TYPED[name]))
    def check(message: msgspec.Struct) -> None:
        validator.validate(msgspec.json.decode(encode(message)))

    check()


@pytest.mark.parametrize("name", sorted(TYPED))
def test_what_the_schema_allows_is_read_and_read_alike(name: str) -> None:
    @settings(max_examples=60, deadline=None, database=None)
    @given(allowed(schemas.load(name)))
    def check(message: dict[str, Any]) -> None:
        parsed = parse(name, msgspec.json.encode(message))
        assert type(parsed) is TYPED[name]
        again = msgspec.json.decode(encode(parsed))
        for key in set(schemas.load(name)["properties"]) & set(message):
            if key in again:
                assert again[key] == message[key] or key in NESTED
            else:
                assert not message[key]  # a default is left out

    check()


@settings(max_examples=100, deadline=None, database=None)
@given(
    st.sampled_from(sorted(HEARTBEAT)).flatmap(lambda name: typed(HEARTBEAT[name])),
    st.sampled_from([1, 2]),
)
def test_what_we_put_in_an_envelope_is_what_its_schema_says(message: Any, version: int) -> None:
    line = codec.encode(message, Dialect.MUX, version)
    jsonschema.validate(msgspec.json.decode(line), schemas.load("envelope"))
    assert codec.decode(line, Dialect.MUX).message == message


@settings(max_examples=300, deadline=None, database=None)
@given(
    st.binary(max_size=300)
    | st.recursive(
        st.none() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ).map(msgspec.json.encode)
)
def test_no_bytes_raise_anything_but_a_peer_error(line: bytes) -> None:
    from reachthru.protocol.errors import PeerError

    for decode in (
        lambda: codec.decode(line, Dialect.MUX),
        lambda: codec.decode(line, Dialect.BARE),
        lambda: agent_bus.decode_from_agent(line),
        lambda: agent_bus.decode_from_controller(line),
        lambda: controller_bus.decode_from_peer(line),
    ):
        try:
            decode()
        except PeerError:
            continue
