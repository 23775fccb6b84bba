"""Certificates, a Keystone, a controller as a process: what the locks are tried with."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from keystoneauth1 import loading, session
from openstack import connect

from reachthru.certificates import client_tls

ROOT = Path(__file__).parents[3]
MAKE_CERTIFICATES = ROOT / "examples/tls/make-certificates"
KEYSTONE_PYTHON = ROOT / ".venv-nova/bin/python"  # tools/setup-services makes it
KEYSTONE_SERVER = Path(__file__).with_name("keystone_server.py")
DEADLINE_S = 40


def wait_until(condition, deadline_s=DEADLINE_S):
    deadline = time.monotonic() + deadline_s
    while not (found := condition()):
        assert time.monotonic() < deadline, condition
        time.sleep(0.02)
    return found


@pytest.fixture(name="wait_until", scope="session")
def wait_until_fixture():
    return wait_until


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


class Pki:
    """An authority, and its certificates, made as docs/security.md says."""

    def __init__(self, folder):
        self.folder = folder
        self._make("ca")
        self.ca = folder / "ca.pem"

    def server(self, *names):
        """(certificate, key) of what is called so."""
        self._make("server", *names)
        return self.folder / f"{names[0]}.pem", self.folder / f"{names[0]}.key"

    def client(self, name):
        self._make("client", name)
        return self.folder / f"{name}.pem", self.folder / f"{name}.key"

    def _make(self, *words):
        subprocess.run([MAKE_CERTIFICATES, self.folder, *words], check=True)


@pytest.fixture(scope="session")
def make_pki(tmp_path_factory):
    """make_pki() -> Pki: another authority each time."""
    return lambda: Pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="session")
def pki(make_pki):
    return make_pki()


class Controller:
    """`reachthru-controller`; `settings`: what follows `listen` in [api], and more sections."""

    def __init__(self, folder, settings, *, tls=None, listen="127.0.0.1", bus=None):
        self.folder = folder
        self.port = free_port()
        self.bus_url = bus or f"mqtt://embedded:{free_port()}"
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self._tls = tls
        self.settings = folder / "controller.conf"
        self.settings.write_text(
            f"[bus]\nurl = {self.bus_url}\n"
            f"[database]\nconnection = sqlite:///{folder}/controller.sqlite\n"
            f"[api]\nlisten = {listen}:{self.port}\n{settings}\n"
        )
        self.settings.chmod(0o640)
        self.process = None

    def start(self, path="/readyz"):
        """Returns when `path` is answered."""
        self.spawn()
        wait_until(lambda: self._answers(path))
        return self

    def spawn(self):
        with (self.folder / "stderr").open("ab") as stderr:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "reachthru.controller_server.cli",
                    *["--config-file", self.settings],
                ],
                stderr=stderr,
            )
        return self

    def _answers(self, path):
        assert self.process.poll() is None, self.log()
        with contextlib.suppress(httpx.HTTPError):
            return self.get(path).status_code == 200

    def stop(self):
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            assert self.process.wait(DEADLINE_S) == 0, self.log()

    def get(self, path, token=None, **headers):
        if token is not None:
            headers["X-Auth-Token"] = token
        return httpx.get(
            f"{self.url}{path}", headers=headers, verify=self._tls or False, timeout=20
        )

    def log(self):
        return (self.folder / "stderr").read_text()


@pytest.fixture(scope="module")
def start_controller(tmp_path_factory):
    """start_controller(settings, path, tls=..., listen=..., bus=...) -> Controller, which runs."""
    with contextlib.ExitStack() as stack:

        def start(settings, path="/readyz", **more):
            controller = Controller(tmp_path_factory.mktemp("controller"), settings, **more)
            stack.callback(controller.stop)
            return controller.start(path)

        yield start


@pytest.fixture(scope="session")
def secret_file(tmp_path_factory):
    """secret_file(name, text, mode=0o600) -> Path, in a folder of its own."""

    def make(name, text, mode=0o600):
        path = tmp_path_factory.mktemp("secret") / name
        path.write_text(text)
        path.chmod(mode)
        return path

    return make


@pytest.fixture
def reachthru(tmp_path):
    """reachthru(*words, **environment) -> (exit code, stdout, stderr) of the operator's command."""

    def run(*words, **environment):
        clean = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("OS_", "REACHTHRU_"))
        }
        done = subprocess.run(
            [sys.executable, "-m", "reachthru.cli", *map(str, words)],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**clean, **{name: str(value) for name, value in environment.items()}},
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    return run


class Keystone:
    """Keystone's own code, over HTTPS. Users have the password of `admin`."""

    password = "the password of every user here"

    def __init__(self, folder, pki):
        self.ca = pki.ca
        self._log = (folder / "keystone.log").open("wb")
        self._process = subprocess.Popen(
            [KEYSTONE_PYTHON, KEYSTONE_SERVER, folder, self.password, *pki.server("127.0.0.1")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        line = self._process.stdout.readline()
        assert line, (folder / "keystone.log").read_text()
        self.url = json.loads(line)["url"]
        self._cloud = connect(
            auth=self.auth("admin", project_name="admin"), cacert=str(self.ca), region_name="one"
        )

    def close(self):
        self._process.stdin.close()
        self._process.wait(30)
        self._log.close()

    def order(self, **what):
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        assert json.loads(self._process.stdout.readline()) == what

    @contextlib.contextmanager
    def away(self):
        self.order(listening=False)
        try:
            yield
        finally:
            self.order(listening=True)

    def auth(self, user, **scope):
        if "project_name" in scope:
            scope["project_domain_id"] = "default"
        return {
            "auth_url": self.url,
            "username": user,
            "password": self.password,
            "user_domain_id": "default",
            **scope,
        }

    def token(self, user, **scope):
        """`scope`: project_name="...", or system_scope="all"."""
        auth = loading.get_plugin_loader("v3password").load_from_options(**self.auth(user, **scope))
        return session.Session(auth=auth, verify=str(self.ca)).get_token()

    def revoke(self, token):
        headers = {"X-Auth-Token": token, "X-Subject-Token": token}
        tls = client_tls(self.ca, None, None)
        httpx.delete(f"{self.url}/auth/tokens", headers=headers, verify=tls).raise_for_status()

    def project(self, name):
        """Its id."""
        identity = self._cloud.identity
        found = identity.find_project(name)
        return (found or identity.create_project(name=name, domain_id="default")).id

    def user(self, name, role, project=None):
        """With that role in the project, or in the system."""
        identity = self._cloud.identity
        user = identity.create_user(
            name=name, password=self.password, domain_id="default", is_enabled=True
        )
        role = identity.find_role(role)
        if project is None:
            identity.assign_system_role_to_user(user, role, "all")
        else:
            identity.assign_project_role_to_user(self.project(project), user, role)


@pytest.fixture(scope="session")
def keystone(tmp_path_factory, pki):
    """With a reader of the system, a tenant, and a VNF manager in a project of its own."""
    server = Keystone(tmp_path_factory.mktemp("keystone"), pki)
    try:
        server.user("watcher", "reader")
        server.user("tenant", "reader", "tenants")
        server.user("vnf-manager", "reader", "vnf")
        yield server
    finally:
        server.close()
