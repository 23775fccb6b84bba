"""Aodh and Ceilometer, their own daemons: from Nova's notification to a webhook.

    Nova's legacy notification -> ceilometer-agent-notification -> topic alarm.all ->
    aodh-listener (event alarms) -> aodh-notifier -> the alarm's webhook

tools/setup-services makes the environment in which they run.
"""

import contextlib
import json
import os
import signal
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

from servers.ports import free_port
from servers.postgresql import PostgresqlServer
from servers.rabbitmq import RabbitMqServer

ROOT = Path(__file__).parents[2]
PROGRAMS = ROOT / ".venv-aodh/bin"
START_S = 120  # 6 on an idle machine
# Of Ceilometer, aodh-listener and aodh-notifier.
TOPICS = {"notifications.info", "alarm.all.sample", "alarming.sample"}
ADMIN = {"X-Roles": "admin", "X-User-Id": "operator"}  # no Keystone: Aodh believes its headers


class Aodh:
    """`url` is its API's. Its daemons' RabbitMQ is Nova's; its database is its own."""

    def __init__(self, folder: Path, rabbit: RabbitMqServer) -> None:
        self._folder = folder
        self._rabbit = rabbit
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._daemons: list[subprocess.Popen[bytes]] = []
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "Aodh":
        with contextlib.ExitStack() as stack:
            stack.callback(self._stop)
            database = stack.enter_context(PostgresqlServer())
            self._write_settings(database.make_database().replace("+psycopg:", ":"))
            aodh = ["--config-file", str(self._folder / "aodh.conf")]
            self._run("aodh-dbsync", *aodh)
            self._start("aodh-api", "--host", "127.0.0.1", "--port", str(self._port), "--", *aodh)
            self._start("aodh-listener", *aodh)
            self._start("aodh-notifier", *aodh)
            self._start(
                "ceilometer-agent-notification",
                "--config-file",
                str(self._folder / "ceilometer.conf"),
            )
            self._wait()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stack.close()

    def make_alarm(self, instance_uuid: str, project_id: str, webhook: str) -> str:
        """An alarm for when that instance is in state error; returns its id."""
        alarm = {
            "name": f"error of {instance_uuid}",
            "type": "event",
            "severity": "critical",
            "project_id": project_id,
            "alarm_actions": [webhook],
            "event_rule": {
                "event_type": "compute.instance.update",
                "query": [
                    {"field": "traits.instance_id", "type": "string", "value": instance_uuid},
                    {"field": "traits.state", "type": "string", "value": "error"},
                ],
            },
        }
        made: str = self.call("POST", "/v2/alarms", alarm)["alarm_id"]
        return made

    def call(self, method: str, path: str, body: object = None) -> Any:
        request = urllib.request.Request(
            f"{self.url}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json", **ADMIN},
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)

    def logs(self) -> str:
        return "\n".join(
            f"--- {path.name}\n{path.read_text()[-3000:]}" for path in self._folder.glob("*.log")
        )

    def _write_settings(self, database_url: str) -> None:
        (self._folder / "aodh.conf").write_text(
            f"[DEFAULT]\ntransport_url = {self._rabbit.url}\n"
            # An alarm made after a project's first event would not be seen for 60 s.
            "event_alarm_cache_ttl = 0\n"
            "[api]\nauth_mode = noauth\n"
            f"[database]\nconnection = {database_url}\n"
            f"[oslo_concurrency]\nlock_path = {self._folder}\n"
        )
        (self._folder / "event_pipeline.yaml").write_text(
            "sources: [{name: event_source, events: ['compute.instance.update'],"
            " sinks: [event_sink]}]\n"
            "sinks: [{name: event_sink, publishers: ['notifier://?topic=alarm.all']}]\n"
        )
        (self._folder / "ceilometer.conf").write_text(
            f"[DEFAULT]\ntransport_url = {self._rabbit.url}\n"
            "[notification]\npipelines = event\nworkers = 1\n"
            "notification_control_exchanges = nova\n"
            f"[event]\ndefinitions_cfg_file = {self._folder}/none.yaml\n"
            f"[DEFAULT]\nevent_pipeline_cfg_file = {self._folder}/event_pipeline.yaml\n"
        )

    def _run(self, *command: str) -> None:
        done = subprocess.run(
            [PROGRAMS / command[0], *command[1:]],
            capture_output=True,
            text=True,
            check=False,
            timeout=START_S,
        )
        if done.returncode:
            raise RuntimeError(done.stdout + done.stderr)

    def _start(self, program: str, *arguments: str) -> None:
        with (self._folder / f"{program}.log").open("wb") as log:
            self._daemons.append(
                subprocess.Popen(
                    [PROGRAMS / program, *arguments],
                    stdout=log,
                    stderr=log,
                    cwd=self._folder,
                    start_new_session=True,
                    env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "HOME": str(self._folder)},
                )
            )

    def _wait(self) -> None:
        """Until its API answers, and somebody listens on each of the topics."""
        deadline = time.monotonic() + START_S
        while not self._answers() or not self._listens():
            dead = [daemon.args for daemon in self._daemons if daemon.poll() is not None]
            if dead or time.monotonic() > deadline:
                raise RuntimeError(f"{dead}\n{self.logs()}")
            time.sleep(0.2)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError):
            self.call("GET", "/v2/alarms")
            return True
        return False

    def _listens(self) -> bool:
        lines = self._rabbit.control("list_queues", "name", "consumers").splitlines()
        heard = {
            name
            for name, _, consumers in (line.partition("\t") for line in lines)
            if consumers.strip() not in ("", "0")
        }
        return heard >= TOPICS

    def _stop(self) -> None:
        for daemon in self._daemons:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(daemon.pid, signal.SIGKILL)  # its workers, too
            daemon.wait(30)
