"""Vitrage's own services, as processes of `.venv-vitrage`, with our datasource."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
import urllib.request
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from reachthru.bus import BusDoor, topic_notifier
from servers.ports import free_port

ROOT = Path(__file__).parents[2]
PROGRAMS = ROOT / ".venv-vitrage/bin"  # tools/setup-services makes it
PLUGIN = ROOT / "src/reachthru/openstack_plugins/vitrage"
START_S = 180  # 10 on an idle machine
STOP_S = 30
TOPIC = "vitrage_notifications"

# A compute node that Vitrage knows, as if Nova had named it.
HOST = "compute-9"
_HOST = f"""
metadata: {{name: host}}
definitions:
  entities: [{{static_id: host, type: nova.host, id: {HOST}}}]
  relationships: []
"""
_PASTE = """
[composite:vitrage+noauth]
use = egg:Paste#urlmap
/v1 = api
[app:api]
paste.app_factory = vitrage.api.app:app_factory
root = vitrage.api.controllers.v1.root.V1Controller
"""


def fault(fault_id=None, *, status="raised", instance=None, **more):
    now = datetime.now(UTC).isoformat(timespec="microseconds")
    return {
        "id": fault_id or str(uuid.uuid4()),
        "kind": "heartbeat_lost",
        "severity": "critical",
        "status": status,
        "instance_uuid": str(uuid.uuid4()) if instance is None else instance,
        "instance_name": "db-1",
        "host": "compute-0",
        "raised_at": now,
        "cleared_at": now if status == "cleared" else None,
        "detail": "no answer",
        "corrective_action": "log",
        "stages_ms": {"detected": 0.0},
        "correlated_to": None,
        "maintenance": None,
        "instances": [],
    } | more


def event(fault_id=None, **what):
    """As the sink tells it."""
    details = fault(fault_id, **what)
    return {"time": "2026-01-01T00:00:00.000000", "type": "reachthru.fault", "details": details}


def uuids(count):
    return [str(uuid.uuid4()) for _ in range(count)]


def environment() -> dict[str, str]:
    """Of whatever runs in .venv-vitrage: our plugin is there as it is in this tree."""
    return {
        "PATH": f"{PROGRAMS}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT / "src"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "LANG": "C.UTF-8",
    }


def write_settings(
    folder: Path, *, bus_url: str, controller_url: str, reachthru: str = "", more: str = ""
) -> Path:
    """vitrage.conf, with the values files beside it; `reachthru` is more of our section."""
    values = folder / "datasources_values"
    # Vitrage's wheel has its values files with its tests only.
    (own,) = PROGRAMS.parent.glob(
        "lib/python3*/site-packages/vitrage/tests/resources/datasources_values"
    )
    shutil.copytree(own, values, ignore=shutil.ignore_patterns("erroneous_values"))
    shutil.copy(PLUGIN / "datasources_values/reachthru.yaml", values)
    shutil.copytree(PLUGIN / "static", folder / "static")
    (folder / "static/host.yaml").write_text(_HOST)
    settings = folder / "vitrage.conf"
    settings.write_text(
        f"[DEFAULT]\ntransport_url = {bus_url}\nuse_nova_versioned_notifications = true\n"
        "[datasources]\ntypes = nova.instance,nova.host,static,reachthru\n"
        "path = vitrage.datasources,reachthru.openstack_plugins.vitrage\n"
        f"[entity_graph]\ndatasources_values_dir = {values}\n"
        f"[static]\ndirectory = {folder}/static\n"
        f"[reachthru]\nurl = {controller_url}\n{reachthru}\n{more}"
    )
    return settings


class Vitrage:
    """Graph, persistor and API; `bus_url` is a RabbitMQ with a virtual host of Vitrage's own.

    `controller_url` is where the datasource takes its snapshots from. Use as `with`.
    """

    def __init__(
        self, folder: Path, *, bus_url: str, database_url: str, controller_url: str
    ) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.bus_url = bus_url
        self.vhost = bus_url.rpartition("/")[2]
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.group = folder / "static/server_group.yaml"
        (folder / "api-paste.ini").write_text(_PASTE)
        self.settings = write_settings(
            folder,
            bus_url=bus_url,
            controller_url=controller_url,
            more=f"[database]\nconnection = {database_url}\n"
            f"[api]\nhost = 127.0.0.1\nport = {self.port}\nauth_mode = noauth\n"
            f"paste_config = {folder}/api-paste.ini\n",
        )

    def __enter__(self) -> "Vitrage":
        try:
            self._run("dbsync")
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        for name in list(self._processes):
            self.kill(name)

    def start(self, *names: str) -> None:
        """All of them, or these; returns when they serve."""
        for name in names or ("persistor", "graph", "api"):
            self._start(name)
        deadline = time.monotonic() + START_S
        while (waits_for := self._unready()) is not None:
            if time.monotonic() > deadline or any(
                process.poll() is not None for process in self._processes.values()
            ):
                raise RuntimeError(f"vitrage-{waits_for}: {self.log(waits_for)[-4000:]}")
            time.sleep(0.05)

    def stop(self, name: str) -> None:
        """As an operator does."""
        process = self._processes.pop(name)
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_S)
        self._end(process)

    def kill(self, name: str) -> None:
        self._end(self._processes.pop(name))

    def restart(self, name: str) -> None:
        self.stop(name)
        self.start(name)

    def freeze(self) -> None:
        """It answers nobody, and its connections stay open."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def alarms(self) -> list[dict[str, Any]]:
        """The active ones, of `GET /v1/alarm`."""
        found: list[dict[str, Any]] = self.ask("GET", "/v1/alarm?vitrage_id=all&all_tenants=1")
        return found

    def add_templates(self, *files: Path) -> None:
        """As `openstack rca template add` does; returns when they are in use."""
        # Vitrage wants texts only.
        templates = [(str(file), yaml.load(file.read_text(), yaml.BaseLoader)) for file in files]
        self.ask("PUT", "/v1/template", {"templates": templates, "template_type": "standard"})
        deadline = time.monotonic() + START_S
        while True:
            found = self.ask("GET", "/v1/template")
            wrong = [item for item in found if item["status"] == "ERROR"]
            if wrong or time.monotonic() > deadline:
                raise RuntimeError(f"templates: {found}")
            if sum(item["status"] == "ACTIVE" for item in found) >= len(files):
                return
            time.sleep(0.1)

    async def tell_of_instance(self, instance: str, host: str) -> None:
        """As Nova does, in as far as Vitrage reads it."""
        data = {
            "uuid": instance,
            "host": host,
            "state": "active",
            "host_name": "db-1",
            "tenant_id": "p",
            "instance_name": "instance-00000001",
        }
        notifier = topic_notifier(
            self.bus_url, exchange="nova", topic=TOPIC, publisher="nova", door=BusDoor()
        )
        await notifier.notify("instance.create.end", {"nova_object.data": data})
        await notifier.close()

    def ask(self, method: str, path: str, body: object = None) -> Any:
        request = urllib.request.Request(
            self.url + path,
            data=None if body is None else json.dumps(body).encode(),
            method=method,
            headers={
                "Content-Type": "application/json",
                "X-Roles": "admin",
                "X-Project-Id": "p",
                "X-User-Name": "admin",
            },
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def _unready(self) -> str | None:
        """The service that is waited for."""
        marks = {"persistor": "Service - Started!", "graph": "Listening on vitrage_notifications"}
        for name, mark in marks.items():
            if mark not in self._life(name):
                return name
        with contextlib.suppress(OSError):  # HTTP's errors are some, too
            self.alarms()
            return None
        return "api"

    def _life(self, name: str) -> str:
        """What it has logged since it was started last."""
        return self.log(name).rpartition("-- start --")[2]

    def _start(self, name: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            log.write(b"-- start --\n")
            log.flush()
            self._processes[name] = subprocess.Popen(
                [PROGRAMS / f"vitrage-{name}", "--config-file", self.settings],
                stdout=log,
                stderr=log,
                env=environment(),
                start_new_session=True,
            )

    def _run(self, name: str) -> None:
        done = subprocess.run(
            [PROGRAMS / f"vitrage-{name}", "--config-file", self.settings],
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"vitrage-{name}: {done.stderr[-4000:]}")

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        """With the workers that it forked."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def _signal(self, number: int) -> None:
        for process in self._processes.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
