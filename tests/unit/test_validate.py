"""`reachthru validate`: which line of a transcript is wrong, and why."""

import argparse
import io
import json
from pathlib import Path
from typing import Any

import pytest

from reachthru import validate

INIT = {
    "version": 3,
    "revision": 1,
    "msg_type": "init",
    "sequence": 1,
    "invocation_id": 5,
    "name": "vm",
    "heartbeat_interval_ms": 400,
    "vote_secs": 0,
    "shutdown_notice_secs": 0,
    "suspend_notice_secs": 0,
    "resume_notice_secs": 0,
    "restart_secs": 0,
    "corrective_action": "log",
}


def mux(data: Any, **changes: Any) -> dict[str, Any]:
    base = {"version": 1, "source_addr": "cgcs.heartbeat", "dest_addr": "cgcs.heartbeat"}
    return {**base, "data": data, **changes}


def check(*messages: Any) -> validate.Verdict:
    lines = [m if isinstance(m, bytes) else json.dumps(m).encode() for m in messages]
    return validate.validate(io.BytesIO(b"\n".join(lines) + b"\n"))


def test_a_good_transcript_has_no_problem() -> None:
    verdict = check(
        INIT, b"", mux(INIT), mux(json.dumps(INIT), version=2), {"type": "report_request", "v": 1}
    )
    assert verdict == validate.Verdict(4, [])


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"{", "not JSON: "),
        (b"\xff{}", "not UTF-8: byte 1 of the line"),
        (b"[]", "not a JSON object but list"),
        (b"[" * 60_000, "nested too deeply"),
        (b"x" * 70_000, "longer than 65536 bytes"),
        (mux(INIT, version=9), "version: 9 is not one of [1, 2]"),
        (mux(INIT, dest_addr="a", source_addr="b"), "dest_addr: no application 'a'"),
        (mux({**INIT, "sequence": -1}), "data.sequence: -1 is less than the minimum of 0"),
        (mux("nonsense"), "data: a string that is not JSON"),
        ({**INIT, "msg_type": "dance"}, "msg_type: heartbeat has no message 'dance'"),
        ({**INIT, "msg_type": "../envelope"}, "msg_type: heartbeat has no message '../envelope'"),
        ({**INIT, "name": "n" * 65}, "name: "),
        ({key: INIT[key] for key in INIT if key != "name"}, "'name' is a required property"),
        ({"type": "fault"}, "'v' is a required property"),
        ({"type": "news", "v": 1, "controller": "a"}, "'changes' is a required property"),
        (
            {"type": "news", "v": 1, "controller": "a", "changes": [{"type": "fault"}]},
            "changes.0: 'v' is a required property",
        ),
        ({"hello": 1}, "type: agent_bus has no message 'None'"),
        ({**INIT, "extra": "e" * 1000}, "bytes; field guests take 1056"),
    ],
)
def test_a_wrong_line_is_named_and_explained(line: Any, says: str) -> None:
    verdict = check(INIT, line, INIT)
    assert verdict.messages == 3
    assert {problem.line_number for problem in verdict.problems} == {2}
    assert any(says in problem.text for problem in verdict.problems), verdict.problems


def test_the_command_exits_with_1_and_points_at_the_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    transcript = tmp_path / "port.log"
    transcript.write_text(json.dumps(INIT) + "\n{}\n")
    assert validate.run(argparse.Namespace(file=str(transcript), json=False)) == 1
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith(f"{transcript}:2: ")
    assert printed[-1] == "2 messages, 1 wrong"


def test_a_file_that_is_not_there_is_one_line_on_stderr(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert validate.run(argparse.Namespace(file=str(tmp_path / "no"), json=False)) == 1
    assert capsys.readouterr().err.count("\n") == 1


def group(data: Any, version: int = 1) -> dict[str, Any]:
    return mux(data, version=version, source_addr="cgcs.server_grp", dest_addr="cgcs.server_grp")


STATUS = {"instance_id": "i-1", "state": "stopped"}
NEWS = {"event_type": "e", "priority": "INFO", "timestamp": "t", "payload": STATUS}


def test_a_good_conversation_of_a_server_group_has_no_problem() -> None:
    messages = [
        group({"msg_type": "broadcast", "data": "x" * 3050}),
        group({"msg_type": "broadcast", "source_instance": "instance-1", "data": "你" * 1016}),
        group({"msg_type": "broadcast", "data": "\u0001\t\u001f"}),
        group({"msg_type": "status_query", "seq": 1}),
        group({"msg_type": "status_response", "seq": 1, "data": STATUS}),
        group({"msg_type": "status_response_done", "seq": 1}),
        group({"msg_type": "notification", "data": STATUS}, version=1),
        group({"msg_type": "notification", "data": NEWS}, version=2),
        {
            **group({"msg_type": "nack", "orig_msg_type": "x", "log_msg": "y"}),
            "dest_addr": "my.app",
        },
        {"type": "group_broadcast", "v": 1, "id": 1, "sender": "u", "data": "x"},
    ]
    assert check(*messages) == validate.Verdict(len(messages), [])


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (group({"msg_type": "broadcast", "data": "é" * 1526}), "3052 bytes of UTF-8"),
        (group({"msg_type": "broadcast", "data": "x" * 3051}), "3051 bytes of UTF-8"),
        (group({"msg_type": "broadcast", "data": "a\nb"}), "should not be valid under"),
        (group({"msg_type": "broadcast", "data": "a\0b"}), "should not be valid under"),
        (group({"msg_type": "broadcast", "data": "\u0001" * 700}), "bytes; field guests take 4095"),
        (
            group({"msg_type": "status_response", "seq": 1, "data": {"a": "x" * 4095}}),
            "bytes; field guests take 4095",
        ),
        (group({"msg_type": "status_query"}), "'seq' is a required property"),
        (group({"msg_type": "status_query", "seq": 2**32}), "greater than the maximum"),
        (group({"msg_type": "notification", "data": STATUS}, version=2), "no 'payload'"),
        (group({"msg_type": "dance"}), "server_group has no message 'dance'"),
        (
            {"type": "group_delivery", "v": 1, "source_instance": "i", "data": "é" * 2000},
            "4000 bytes of UTF-8",
        ),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_a_server_group_may_not_say_is_named(line: Any, says: str) -> None:
    problems = check(line).problems
    assert any(says in problem.text for problem in problems), problems
