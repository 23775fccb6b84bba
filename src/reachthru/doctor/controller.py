"""A controller's machine: settings, database, broker, REST, Keystone, Nova, sinks, agents."""

import argparse
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from oslo_config import cfg

from reachthru import __version__, service
from reachthru.bus import BusDoor
from reachthru.certificates import CertificateError, valid_until
from reachthru.controller_server import settings as controller_settings
from reachthru.controller_server.nova.settings import options as nova_options
from reachthru.controller_server.settings import DEFAULT_PATH, Settings
from reachthru.controller_server.store.database import DatabaseError
from reachthru.controller_server.store.deliveries import Backlog
from reachthru.controller_server.store.look import Look, NotMadeError, look
from reachthru.doctor import judgement, machine, services
from reachthru.doctor.broker import check_broker
from reachthru.doctor.machine import Process
from reachthru.doctor.run import Check, run_checks
from reachthru.findings import Finding, ok, running, warning, wrong
from reachthru.operator.api import Api, ApiError
from reachthru.secret_files import origin, shown_url
from reachthru.service import SettingsError

SERVICE = "reachthru-controller"


class Controller:
    """What the checks look at; each thing is looked at once."""

    def __init__(
        self, settings: Settings, conf: cfg.ConfigOpts, path: Path, args: argparse.Namespace
    ) -> None:
        self.settings = settings
        self.conf = conf
        self.path = path
        self.api_url = _api_url(settings, args)
        self.args = argparse.Namespace(**vars(args) | {"url": self.api_url})
        tokens = settings.api.reader_tokens or settings.api.admin_tokens
        if self.args.token_file is None and tokens is not None:
            self.args.token_file = str(tokens.path)

    @cached_property
    def daemons(self) -> list[Process]:
        module = "reachthru.controller_server.cli"
        return machine.daemons(SERVICE, module, self.path, DEFAULT_PATH)

    @cached_property
    def database(self) -> Look | Exception:
        try:
            return look(self.settings.database_url)
        except (DatabaseError, NotMadeError) as error:
            return error


def examine(config: Path | None, args: argparse.Namespace) -> list[Finding]:
    path = config or DEFAULT_PATH
    try:
        settings = controller_settings.load(path)
        conf = service.load(path, {**controller_settings.OPTIONS, "nova": nova_options()})
    except SettingsError as error:
        remedy = "put that right; the controller does not start with it"
        return [wrong("settings", str(error), remedy)]
    controller = Controller(settings, conf, path, args)
    return [ok("settings", str(path)), *run_checks(CHECKS, controller)]


# --- database ----------------------------------------------------------------------------------


def check_database(controller: Controller) -> Iterator[Finding]:
    seen = controller.database
    shown = shown_url(controller.settings.database_url)
    if isinstance(seen, NotMadeError):
        yield warning("database", str(seen), "a controller that starts makes it")
        return
    if isinstance(seen, Exception):
        remedy = "start the server, or put [database] connection right; agents keep all meanwhile"
        yield wrong("database", str(seen), remedy)
        return
    if seen.trouble:
        yield wrong("schema", f"{shown}: {seen.trouble}", "no controller of this version starts")
    else:
        yield ok("database", f"{shown}: {seen.server}, schema {seen.version:04d}")
    yield judgement.clock("clock", "the database's clock", seen.ahead_s)


# --- the controller itself ---------------------------------------------------------------------


def check_bus(controller: Controller) -> Iterator[Finding]:
    settings = controller.settings
    if settings.embedded_port is None:
        yield from check_broker(settings.bus_url, settings.bus_door)
        return
    holder = machine.listener(settings.embedded_port)
    if controller.daemons:
        yield from check_broker(f"mqtt://127.0.0.1:{settings.embedded_port}", BusDoor())
    elif holder is not None:
        text = f"port {settings.embedded_port} is {holder.name}'s (process {holder.pid})"
        remedy = "stop it, or choose another one: [bus] url = mqtt://embedded:PORT"
        yield wrong("broker", f"the broker inside can't start: {text}", remedy)


def check_api(controller: Controller) -> Iterator[Finding]:
    api = controller.settings.api
    holder = machine.listener(api.port)
    pids = {process.pid for process in controller.daemons}
    if holder is not None and holder.pid not in pids:
        text = f"port {api.port} is {holder.name}'s (process {holder.pid}), not the controller's"
        yield wrong("REST", text, "stop that program, or choose another port in [api] listen")
        return
    if not controller.daemons:
        remedy = f"systemctl enable --now {SERVICE}; journalctl -u {SERVICE} says why it ended"
        yield wrong("controller", f"none runs with {controller.path}", remedy)
        return
    try:
        answer = Api(controller.args).get("/readyz")
    except ApiError as error:
        remedy = "its log says more (journalctl -u reachthru-controller)"
        yield wrong("controller", f"runs, and is not ready: {error}", remedy)
        return
    text = f"runs at {controller.api_url}, {answer.get('role', 'ready')}"
    try:
        version = str(Api(controller.args).get("/v1/summary")["version"])
    except (ApiError, KeyError):  # a token would tell; check_hosts says so
        yield ok("controller", text)
    else:
        yield running("controller", text, version, __version__, SERVICE)


def check_certificate(controller: Controller) -> Iterator[Finding]:
    tls = controller.settings.api.tls
    if tls is None:
        return
    try:
        until = valid_until(tls.cert_file, tls.key_file)
    except CertificateError as error:
        yield wrong("REST TLS", str(error), "renew it; the files are read anew")
        return
    yield judgement.certificate("REST TLS", "our", until, datetime.now(UTC))


# --- others' services --------------------------------------------------------------------------


def check_keystone(controller: Controller) -> Iterator[Finding]:
    if controller.settings.api.keystone is not None:
        yield services.keystone(controller.settings.api.keystone)


def check_nova(controller: Controller) -> Iterator[Finding]:
    nova = controller.settings.nova
    if nova is not None:
        yield services.nova(nova.conf)
        news = services.nova_news(nova.notifications_url)
        if news is not None:
            yield news


def check_sinks(controller: Controller) -> Iterator[Finding]:
    seen = controller.database
    waiting = seen.backlog if isinstance(seen, Look) else {}
    errors = seen.last_errors if isinstance(seen, Look) else {}
    for sink in controller.settings.sinks:
        left = waiting.get(sink.name, Backlog(0, 0.0))
        found = judgement.backlog(sink.name, left.changes, left.oldest_s, errors.get(sink.name))
        url = services.sink_url(controller.conf, sink.name)
        trouble = services.connect_trouble(url) if url else None
        if trouble is None:
            yield found
        else:
            more = "" if found.mark == "ok" else f"; {found.text}"
            remedy = f"start what listens there, or put [sink_{sink.name}] right; nothing is lost"
            yield wrong(f"sink {sink.name}", f"{origin(url)}: {trouble}{more}", remedy)


def check_hosts(controller: Controller) -> Iterator[Finding]:
    """What the controller knows of its agents."""
    if not controller.daemons:
        return
    try:
        hosts = Api(controller.args).get("/v1/hosts")["hosts"]
    except ApiError as error:
        yield warning("hosts", str(error), "--token-file or --os-cloud would let us ask")
        return
    if not hosts:
        remedy = "run `reachthru doctor` on a compute node; is its [bus] url this broker?"
        yield warning("hosts", "no agent has ever reported", remedy)
    for host in hosts:
        yield from judgement.host(host, __version__)


CHECKS = (
    Check("database", check_database),
    Check("broker", check_bus),
    Check("REST", check_api),
    Check("REST TLS", check_certificate),
    Check("Keystone", check_keystone),
    Check("Nova", check_nova),
    Check("sinks", check_sinks),
    Check("hosts", check_hosts),
)


def _api_url(settings: Settings, args: argparse.Namespace) -> str:
    if args.url_given:
        return str(args.url)
    api = settings.api
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(api.host, api.host)  # noqa: S104
    name = f"[{host}]" if ":" in host else host
    return f"{'https' if api.tls is not None else 'http'}://{name}:{api.port}"
