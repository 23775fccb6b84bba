"""`reachthru validate FILE`: checks a captured line-JSON transcript against the schemas.

A transcript is what was seen on a port or on the agent bus, one message a line, in any mixture:
base envelopes, bare heartbeat messages, bus messages. Empty lines are skipped, as on the wire.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import jsonschema
from referencing import Registry

from reachthru import schemas
from reachthru.protocol.lines import LINE_LIMIT_BYTES
from reachthru.protocol.messages import (
    BROADCAST_LIMIT_BYTES,
    GROUP_MESSAGE_LIMIT_BYTES,
    HEARTBEAT_ADDR,
    HEARTBEAT_LIMIT_BYTES,
    LOG_MSG_LIMIT_BYTES,
    SERVER_GROUP_ADDR,
)

# Of a notification's data in base version 2; in version 1 the payload is all of it.
_NEWS_KEYS = ("event_type", "priority", "timestamp", "payload")
_PREFIXES = {HEARTBEAT_ADDR: "heartbeat", SERVER_GROUP_ADDR: "server_group"}


class Problem(NamedTuple):
    """What is wrong with one line. `line_number` starts at 1."""

    line_number: int
    text: str


class Verdict(NamedTuple):
    """What was found in a whole transcript."""

    messages: int
    problems: list[Problem]


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser(
        "validate",
        help="check a captured line-JSON transcript against the schemas",
        description="Checks each line of a transcript and says which one is wrong and why.",
    )
    parser.add_argument("file", metavar="FILE", help="the transcript; - reads standard input")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0: every line is a message. 1: some are not, or the file can't be read."""
    try:
        if args.file == "-":
            verdict = validate(sys.stdin.buffer)
        else:
            with Path(args.file).open("rb") as stream:
                verdict = validate(stream)
    except OSError as error:
        print(f"reachthru: {args.file}: {error.strerror}", file=sys.stderr)
        return 1
    if getattr(args, "json", False):
        problems = [problem._asdict() for problem in verdict.problems]
        print(json.dumps({"messages": verdict.messages, "problems": problems}))
    else:
        for number, text in verdict.problems:
            print(f"{args.file}:{number}: {text}")
        wrong = len(verdict.problems)
        print(f"{verdict.messages} messages, {wrong} wrong")
    return 1 if verdict.problems else 0


def validate(stream: BinaryIO) -> Verdict:
    """Reads the whole transcript; memory is bounded by the line limit."""
    messages = 0
    problems = []
    for number, line in _lines(stream):
        messages += 1
        problems += [Problem(number, text) for text in check_line(line)]
    return Verdict(messages, problems)


def check_line(line: bytes) -> list[str]:
    """What is wrong with one line: nothing, or one text a problem."""
    if len(line) > LINE_LIMIT_BYTES:
        return [f"longer than {LINE_LIMIT_BYTES} bytes"]
    try:
        message = json.loads(line)
    except UnicodeDecodeError as error:
        return [f"not UTF-8: byte {error.start + 1} of the line"]
    except RecursionError:
        return ["nested too deeply"]
    except ValueError as error:
        return [f"not JSON: {error}"]
    if not isinstance(message, dict):
        return [f"not a JSON object but {type(message).__name__}"]
    if "dest_addr" in message or "source_addr" in message:
        return _check_envelope(message)
    if "msg_type" in message:
        return _check_heartbeat(message)
    word = message.get("type")
    between = "controller_bus" if word == "news" else "agent_bus"
    return [*_check(f"{between}.{word}", message), *_check_text(message)]


def _check_envelope(message: dict[str, Any]) -> list[str]:
    problems = _check("envelope", message)
    if problems:
        return problems
    prefix = _PREFIXES.get(message["dest_addr"]) or _PREFIXES.get(message["source_addr"])
    if prefix is None:
        return [f"dest_addr: no application {message['dest_addr']!r}"]
    data = message["data"]
    if isinstance(data, str):
        try:
            data = json.loads(data)
        except (ValueError, RecursionError):
            return ["data: a string that is not JSON"]
        if not isinstance(data, dict):
            return ["data: a string that does not hold a JSON object"]
    if prefix == "heartbeat":
        return [f"data.{text}" for text in _check_heartbeat(data)]
    return [f"data.{text}" for text in _check_group(data, message["version"])]


def _check_heartbeat(data: dict[str, Any]) -> list[str]:
    problems = _check(f"heartbeat.{data.get('msg_type')}", data)
    size_bytes = _size_bytes(data)
    if size_bytes > HEARTBEAT_LIMIT_BYTES:
        problems.append(f"{size_bytes} bytes; field guests take {HEARTBEAT_LIMIT_BYTES}")
    log_msg = data.get("log_msg")
    if isinstance(log_msg, str) and len(log_msg.encode("utf-8", "replace")) > LOG_MSG_LIMIT_BYTES:
        problems.append(f"log_msg: more than {LOG_MSG_LIMIT_BYTES} bytes of UTF-8")
    return problems


def _check_group(data: dict[str, Any], base_version: int) -> list[str]:
    problems = [*_check(f"server_group.{data.get('msg_type')}", data), *_check_text(data)]
    size_bytes = _size_bytes(data)
    if size_bytes > GROUP_MESSAGE_LIMIT_BYTES:
        problems.append(f"{size_bytes} bytes; field guests take {GROUP_MESSAGE_LIMIT_BYTES}")
    news = data.get("data")
    if data.get("msg_type") == "notification" and base_version == 2 and isinstance(news, dict):
        problems += [
            f"data: no {key!r}, as base version 2 has" for key in _NEWS_KEYS if key not in news
        ]
    return problems


def _check_text(message: dict[str, Any]) -> list[str]:
    """A broadcast's text, which the schemas can only count in characters."""
    text = message.get("data")
    if not isinstance(text, str):
        return []
    size_bytes = len(text.encode("utf-8", "surrogatepass"))
    if size_bytes <= BROADCAST_LIMIT_BYTES:
        return []
    return [f"data: {size_bytes} bytes of UTF-8; at most {BROADCAST_LIMIT_BYTES} are delivered"]


def _size_bytes(message: dict[str, Any]) -> int:
    """Of the message serialised compactly."""
    compact = json.dumps(message, separators=(",", ":"), ensure_ascii=False)
    return len(compact.encode("utf-8", "surrogatepass"))


def _check(schema: str, message: dict[str, Any]) -> list[str]:
    try:
        validator = _validator(schema)
    except KeyError:
        application, _, word = schema.partition(".")
        key = "type" if application == "agent_bus" else "msg_type"
        return [f"{key}: {application} has no message {word!r}"]
    errors = sorted(validator.iter_errors(message), key=lambda error: list(error.absolute_path))
    return [_explain(error) for error in errors]


@cache
def _validator(schema: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(schemas.load(schema), registry=_registry())


@cache
def _registry() -> "Registry[Any]":
    return Registry().with_contents(schemas.by_id().items())


def _explain(error: jsonschema.ValidationError) -> str:
    path = ".".join(str(part) for part in error.absolute_path)
    return f"{path}: {error.message}" if path else error.message


def _lines(stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """(number, line) without empty ones; an over-long line comes cut just past the limit."""
    number = 0
    while line := stream.readline(LINE_LIMIT_BYTES + 2):
        number += 1
        complete = line.endswith(b"\n")
        while not complete and (rest := stream.readline(LINE_LIMIT_BYTES)):
            complete = rest.endswith(b"\n")
        line = line.strip()
        if line:
            yield number, line
