"""The operator's command line, against a controller that a test plays."""

import http.server
import json
import socket
import subprocess
import sys
import threading

import pytest

from reachthru import cli

FAULT = {
    "id": "f1",
    "kind": "unhealthy",
    "severity": "major",
    "status": "raised",
    "instance_uuid": "u1",
    "instance_name": "db",
    "host": "compute-0",
    "raised_at": "2026-01-01T00:00:00.000000+00:00",
    "cleared_at": None,
    "detail": "disk\tfull \x1b[31mred\n",
    "corrective_action": "log",
    "stages_ms": {},
    "deliveries": [
        {"sink": "log", "state": "done", "attempts": 1},
        {"sink": "webhook", "state": "pending", "attempts": 3},
    ],
}
ANSWERS = {
    "/v1/hosts": {
        "hosts": [
            {
                "host": "compute-0",
                "state": "online",
                "agent_version": "1.0",
                "guests": 3,
                "lateness_ms": 1.5,
                "waiting": 4,
                "outbox_durable": False,
            }
        ]
    },
    "/v1/instances": {
        "instances": [
            {
                "uuid": "u1",
                "name": "db",
                "host": "compute-0",
                "state": "running",
                "interval_ms": 400,
                "last_seen_at": None,
                "registered": True,
                "health": "healthy",
            }
        ]
    },
    "/v1/groups": {
        "groups": [
            {
                "id": "g1",
                "name": "db",
                "members": [
                    {"uuid": "u1", "name": "db-1", "host": "compute-0", "state": "active"},
                    {"uuid": "u2", "name": "db-2", "host": None, "state": "stopped"},
                ],
            },
            {"id": "g2", "name": "empty", "members": []},
        ]
    },
    "/v1/faults": {"faults": [FAULT]},
}


class PlayedController(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        path = self.path.partition("?")[0]
        if path == "/v1/events" and self.server.streams > 0:
            self.server.streams -= 1
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b": following\r\n\r\n")
            for event in self.server.events:
                self.wfile.write(f"event: fault\r\ndata: {json.dumps(event)}\r\n\r\n".encode())
            return
        body = ANSWERS.get(path, {"error": "no such thing"})
        self.send_response(200 if path in ANSWERS else 404)
        self.end_headers()
        self.wfile.write(self.server.body or json.dumps(body).encode())

    def log_message(self, *_arguments):
        """Not in a test's output."""


@pytest.fixture
def controller(monkeypatch):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), PlayedController)
    server.asked, server.events, server.body = [], [], b""
    server.streams = 2
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
    monkeypatch.setenv("REACHTHRU_URL", f"http://127.0.0.1:{server.server_port}")
    yield server
    server.shutdown()
    server.server_close()


def test_a_pipe_gets_tab_separated_text(controller, capsys):
    assert cli.main(["hosts"]) == 0
    assert capsys.readouterr().out == (
        "HOST\tSTATE\tGUESTS\tLATENESS_MS\tAGENT_VERSION\tWAITING\tOUTBOX\n"
        "compute-0\tonline\t3\t1.5\t1.0\t4\tIN MEMORY ONLY\n"
    )
    assert cli.main(["instances"]) == 0
    heading, line = capsys.readouterr().out.splitlines()
    assert line.split("\t") == [
        "u1",
        "db",
        "compute-0",
        "running",
        "yes",
        "healthy",
        "400",
        "-",
        "-",
    ]
    assert len(heading.split("\t")) == len(line.split("\t"))


@pytest.mark.parametrize("command", ["hosts", "instances", "groups", "faults"])
def test_json_is_what_the_controller_answered(controller, capsys, command):
    assert cli.main([command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == ANSWERS[f"/v1/{command}"]


def test_groups_are_a_line_a_member(controller, capsys):
    assert cli.main(["groups"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "GROUP\tGROUP_NAME\tUUID\tNAME\tHOST\tSTATE",
        "g1\tdb\tu2\tdb-2\t-\tstopped",  # the worst first
        "g1\tdb\tu1\tdb-1\tcompute-0\tactive",
    ]


def test_a_guests_text_cannot_move_the_terminals_cursor(controller, capsys):
    assert cli.main(["faults"]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    heading, line = out.splitlines()
    columns, cells = heading.split("\t"), line.split("\t")
    assert cells[columns.index("DETAIL")] == "disk full  [31mred "
    assert cells[columns.index("TOLD")] == "log done, webhook pending"


def test_a_terminal_gets_a_table(controller, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    assert cli.main(["hosts"]) == 0
    out = capsys.readouterr().out
    assert "lateness_ms" in out
    assert "compute-0" in out
    assert "\t" not in out


def test_filters_are_the_controllers_to_apply(controller):
    assert cli.main(["faults", "--active", "--instance", "u 1", "--host", "h", "--limit", "7"]) == 0
    assert controller.asked == ["/v1/faults?active=true&instance=u+1&host=h&limit=7"]


def test_watching_shows_what_is_and_then_what_comes(controller, capsys):
    controller.events = [
        FAULT,  # it was listed already
        FAULT | {"status": "cleared", "cleared_at": "2026-01-01T00:00:05.000000+00:00"},
        FAULT | {"id": "f2", "host": "compute-9"},
    ]
    assert cli.main(["faults", "--watch", "--json", "--host", "compute-0"]) == 1
    captured = capsys.readouterr()
    shown = [json.loads(line) for line in captured.out.splitlines()]
    assert [(fault["id"], fault["status"]) for fault in shown] == [
        ("f1", "raised"),
        ("f1", "cleared"),
    ]
    # It ended once, and again; the third time there was none.
    assert captured.err.count("ended the stream; trying again") == 2
    assert "no such thing" in captured.err


def complaint(capsys):
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    return line


def test_nobody_there_is_one_line(capsys):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert cli.main(["faults", "--url", f"http://127.0.0.1:{port}"]) == 1
    line = complaint(capsys)
    assert f"127.0.0.1:{port}" in line
    assert "Connection refused" in line


def test_a_refusal_is_the_controllers_own_words(controller, capsys, monkeypatch):
    monkeypatch.delitem(ANSWERS, "/v1/faults")
    assert cli.main(["faults"]) == 1
    assert "no such thing" in complaint(capsys)


def test_whoever_is_no_controller_is_one_line(controller, capsys):
    controller.body = b"<html>hello</html>"
    assert cli.main(["faults"]) == 1
    assert "not the answer of a controller" in complaint(capsys)


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["nonsense"],
        ["faults", "--nonsense"],
        ["faults", "--limit", "x"],
        ["hosts", "--url", "ftp://x"],
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(capsys, words):
    with pytest.raises(SystemExit) as end:
        cli.main(words)
    assert end.value.code == 2
    assert "--help" in complaint(capsys)


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["faults", "--help"]])
def test_help_and_version_are_fine(capsys, words):
    with pytest.raises(SystemExit) as end:
        cli.main(words)
    assert end.value.code == 0
    assert "reachthru" in capsys.readouterr().out


def test_validate_is_one_of_the_commands(tmp_path, capsys):
    (tmp_path / "transcript").write_text("nonsense\n")
    assert cli.main(["validate", "--json", str(tmp_path / "transcript")]) == 1
    assert json.loads(capsys.readouterr().out)["messages"] == 1


def test_asking_a_controller_does_not_wait_for_what_other_commands_need():
    code = "import sys; from reachthru import cli; cli.main(['hosts']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"rich", "jsonschema", "msgspec", "reachthru.demo"} & set(done.stdout.split())
