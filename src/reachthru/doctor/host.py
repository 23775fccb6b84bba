"""A compute node: settings, libvirt, ports, outbox, broker, agent, and what a controller says."""

import argparse
import contextlib
import json
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from reachthru import __version__
from reachthru.doctor import judgement, machine
from reachthru.doctor.broker import check_broker
from reachthru.doctor.machine import Process
from reachthru.doctor.run import Check, run_checks
from reachthru.findings import Finding, ok, running, warning, wrong
from reachthru.host_agent.cli import DEFAULT_PATH
from reachthru.host_agent.discovery.directory import FILE_NAME
from reachthru.host_agent.settings import HostSettings, load
from reachthru.operator.api import DEFAULT_URL, Api, ApiError
from reachthru.service import SettingsError

SERVICE = "reachthru-host"
# What waits longer than this was taken by no controller.
WAITING_WRONG_S = 30.0
NAMED = 3  # so many domains are named, the others counted


class Host:
    """What the checks look at; each thing is looked at once."""

    def __init__(self, settings: HostSettings, path: Path, args: argparse.Namespace) -> None:
        self.settings = settings
        self.path = path
        self.args = args

    @cached_property
    def agents(self) -> list[Process]:
        module = "reachthru.host_agent.cli"
        return machine.daemons(SERVICE, module, self.path, DEFAULT_PATH)

    @property
    def uid(self) -> int:
        """The agent's, if one runs; else ours."""
        return self.agents[0].uid if self.agents else os.getuid()


def examine(config: Path | None, args: argparse.Namespace) -> list[Finding]:
    path = config or DEFAULT_PATH
    try:
        settings = load(path)
    except SettingsError as error:
        return [wrong("settings", str(error), "put that right; the agent does not start with it")]
    host = Host(settings, path, args)
    return [ok("settings", str(path)), *run_checks(CHECKS, host)]


# --- discovery ---------------------------------------------------------------------------------


def check_discovery(host: Host) -> Iterable[Finding]:
    if host.settings.driver == "directory":
        return _check_directory(host)
    return _check_libvirt(host)


def _check_directory(host: Host) -> Iterator[Finding]:
    folder = host.settings.directory
    if not folder.is_dir():
        remedy = "[directory] path must be where the sockets are made"
        yield wrong("ports", f"{folder} is not there", remedy)
        return
    # Others have sockets there too, such as a guest daemon for its applications.
    sockets = sorted(str(file) for file in folder.iterdir() if FILE_NAME.fullmatch(file.name))
    yield ok("ports", f"{folder}: {len(sockets)} sockets")
    yield from judge_sockets(sockets, host)


def _check_libvirt(host: Host) -> Iterator[Finding]:
    uri = host.settings.connection_uri
    try:
        from reachthru.host_agent.discovery.libvirt import look  # noqa: PLC0415
        from reachthru.host_agent.discovery.libvirt.connection import (  # noqa: PLC0415
            LibvirtUnavailableError,
        )
    except ImportError as error:
        remedy = "install python3-libvirt, in the version of this machine's libvirt"
        yield wrong("libvirt", f"its Python binding is missing: {error}", remedy)
        return
    try:
        seen = look.look(uri)
    except LibvirtUnavailableError as error:
        remedy = "systemctl start libvirtd (or virtqemud); may the agent's user use its socket?"
        yield wrong("libvirt", f"{uri}: {error}", remedy)
        return
    yield ok("libvirt", f"{uri}: version {seen.version}, {len(seen.domains)} domains run")
    yield from judge_domains(seen.domains)
    paths = [port.path for domain in seen.domains for port in domain.ports.values()]
    yield from judge_sockets(paths, host)


def judge_domains(domains: Iterable[Any]) -> Iterator[Finding]:
    """`domains` are `DomainFacts`."""
    domains = list(domains)
    served = [domain for domain in domains if domain.ports]
    lacking = [domain.name for domain in domains if domain.lacks_port]
    confused = [f"{domain.name} ({spec})" for domain in domains for spec in domain.wrong_specs]
    yield ok("domains", f"{len(served)} of {len(domains)} are served")
    if lacking:
        text = f"{_named(lacking)} ask for heartbeats and have no port"
        remedy = "reboot them hard (a port comes at boot), or set [libvirt] hotplug = true"
        yield warning("domains", text, remedy)
    if confused:
        remedy = "true or false are understood; put the flavor right"
        yield warning("domains", f"{_named(confused)}: an extra spec is no boolean", remedy)


def judge_sockets(paths: Iterable[str], host: Host) -> Iterator[Finding]:
    """With an agent that runs, each port is its own; with none, nobody's."""
    idle: list[str] = []
    held: list[str] = []
    missing: list[str] = []
    for path in paths:
        try:
            exists = Path(path).is_socket()
        except PermissionError:
            exists = False
        if not exists:
            missing.append(path)
        elif machine.is_connected(path) != bool(host.agents):
            (idle if host.agents else held).append(path)
    if missing:
        remedy = "the agent's user must be in the group of QEMU's sockets (libvirt-qemu, qemu)"
        yield wrong("ports", f"{_named(missing)}: can't be reached", remedy)
    if idle:
        text = f"{_named(idle)}: the agent is not connected to it"
        remedy = (
            "is its user in the group that owns the socket and its folder (libvirt-qemu, qemu)?"
            " does AppArmor or SELinux forbid it? (journalctl -k -g denied)"
        )
        yield wrong("ports", text, remedy)
    if held:
        text = f"{_named(held)}: another program is connected to it, and no agent runs"
        yield wrong("ports", text, "one program may have a port: ss -xp shows which one it is")


def _named(names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


# --- outbox, broker, agent ---------------------------------------------------------------------


def check_outbox(host: Host) -> Iterator[Finding]:
    path = host.settings.outbox_path
    folder = path.parent
    if not folder.is_dir():
        remedy = f"mkdir {folder}, owned by the agent's user; until then faults are in memory only"
        yield wrong("outbox", f"{folder} is not there", remedy)
        return
    trouble = machine.write_trouble(folder)
    if trouble is None and not machine.may_write(folder, host.uid):
        trouble = f"it is not the agent's user's (uid {host.uid})"
    if trouble is not None:
        remedy = "make room there, or give it to the agent's user; faults are in memory only"
        yield wrong("outbox", f"{folder} can't be written: {trouble}", remedy)
    else:
        yield ok("outbox", f"{path} can be written")
        full = judgement.room("outbox", folder, machine.free_bytes(folder))
        if full is not None:
            yield full
    yield from judge_waiting(*_waiting(path))


def _waiting(path: Path) -> tuple[int, float]:
    """How many changes no controller has acknowledged, and for how many seconds the oldest has
    waited.
    """
    if not path.exists():
        return 0, 0.0
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=2)) as found:
        try:
            count, oldest = found.execute("SELECT count(*), min(seq) FROM change").fetchone()
            row = found.execute("SELECT body FROM change WHERE seq = ?", (oldest,)).fetchone()
        except sqlite3.Error:  # no agent has used it yet, or its disk fails: that is said above
            return 0, 0.0
    if not count:
        return 0, 0.0
    change = json.loads(row[0])
    since = datetime.fromisoformat(change.get("cleared_at") or change["raised_at"])
    return count, time.time() - since.timestamp()


def judge_waiting(count: int, oldest_s: float) -> Iterator[Finding]:
    if not count:
        yield ok("backlog", "controllers have taken everything")
    elif oldest_s < WAITING_WRONG_S:
        yield ok("backlog", f"{count} fault changes are on their way")
    else:
        text = f"{count} fault changes wait, the oldest for {oldest_s:.0f} s: no controller took it"
        yield wrong("backlog", text, "is a controller on the same broker, and can it write?")


def check_bus(host: Host) -> Iterator[Finding]:
    yield from check_broker(host.settings.bus_url, host.settings.bus_door)


def check_agent(host: Host) -> Iterator[Finding]:
    if not host.agents:
        remedy = f"systemctl enable --now {SERVICE}; journalctl -u {SERVICE} says why it ended"
        yield wrong("agent", f"no host agent runs with {host.path}", remedy)
    elif len(host.agents) > 1:
        pids = ", ".join(str(process.pid) for process in host.agents)
        text = f"{len(host.agents)} agents run with {host.path}: processes {pids}"
        yield wrong("agent", text, "stop all but one: they take each other's ports and name")
    else:
        yield ok("agent", f"runs, process {host.agents[0].pid}")


def check_controller(host: Host) -> Iterator[Finding]:
    """As a controller sees this host, where one can be asked."""
    try:
        answer = Api(host.args).get("/v1/hosts")
        found = [one for one in answer["hosts"] if one["host"] == host.settings.host]
    except ApiError as error:
        if host.args.url == DEFAULT_URL:  # most controllers are on another machine
            yield ok("controller", "not asked: --url or $REACHTHRU_URL would name it")
        else:
            yield wrong("controller", str(error), "put --url or $REACHTHRU_URL right")
        return
    if not found:
        text = f"{host.args.url}: it has never heard of {host.settings.host}"
        remedy = "is its [bus] url the same broker? does [DEFAULT] host say Nova's name?"
        yield wrong("controller", text, remedy)
        return
    yield ok("controller", f"{host.args.url} knows {host.settings.host}")
    version = str(found[0]["agent_version"])
    if version != __version__ and host.agents:
        yield running("agent", "what runs here", version, __version__, SERVICE)
    yield from judgement.host(found[0], __version__)


CHECKS = (
    Check("libvirt", check_discovery),
    Check("outbox", check_outbox),
    Check("broker", check_bus),
    Check("agent", check_agent),
    Check("controller", check_controller),
)
