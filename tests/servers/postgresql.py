"""A PostgreSQL server of a test's own, which can be stopped, killed, and frozen."""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

import psycopg

from servers.ports import free_port

PROGRAMS = Path("/usr/lib/postgresql/15/bin")  # Debian 12's place; `make setup` installs it
START_S = 90
USER = "postgres"  # the server refuses to run as root


class PostgresqlServer:
    """Listens on 127.0.0.1:`port`. Its disk is written as in production: fsync is on.

    `settings` are further lines of postgresql.conf.
    """

    def __init__(self, *settings: str) -> None:
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="reachthru-pg-", dir="/tmp"))
        self._data = self.folder / "data"
        self._process: subprocess.Popen[bytes] | None = None
        self._owner: dict[str, Any] = (
            {"user": USER, "group": USER, "extra_groups": []} if os.getuid() == 0 else {}
        )
        if self._owner:
            account = pwd.getpwnam(USER)
            os.chown(self.folder, account.pw_uid, account.pw_gid)
        self._run(
            PROGRAMS / "initdb", "-D", self._data, "-U", USER, "-A", "trust", "--no-sync",
            "--encoding=UTF8", "--locale=C.UTF-8",
        )  # fmt: skip
        lines = (
            "listen_addresses = '127.0.0.1'",
            f"port = {self.port}",
            f"unix_socket_directories = '{self.folder}'",
            "shared_buffers = 32MB",
            "max_connections = 60",
            *settings,
        )
        with (self._data / "postgresql.conf").open("a") as conf:
            conf.write("\n".join(lines) + "\n")

    def __enter__(self) -> "PostgresqlServer":
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        if self._process is not None:
            self._signal(signal.SIGCONT)
            self._end(signal.SIGQUIT)  # nobody needs its files any more
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, database: str) -> str:
        return f"postgresql+psycopg://{USER}@127.0.0.1:{self.port}/{database}"

    def make_database(self, template: str = "template0") -> str:
        """A fresh database, empty or like `template`; returns its URL."""
        name = f"t{uuid.uuid4().hex[:12]}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url(name)

    def execute(self, statement: str, database: str = "postgres") -> None:
        with psycopg.connect(self._conninfo(database), autocommit=True) as connection:
            connection.execute(statement.encode())

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [PROGRAMS / "postgres", "-D", self._data], stdout=log, stderr=log, **self._owner
            )
        deadline = time.monotonic() + START_S
        while True:
            with contextlib.suppress(psycopg.OperationalError):
                self.execute("SELECT 1")
                return
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise RuntimeError((self.folder / "log").read_text()[-2000:])
            time.sleep(0.02)

    def stop(self) -> None:
        """Breaks every connection, with a word to it (mode "fast")."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """As a loss of power: every process at once."""
        self._signal(signal.SIGKILL)
        self._end(signal.SIGKILL)
        (self._data / "postmaster.pid").unlink(missing_ok=True)

    def freeze(self) -> None:
        """It answers nobody, and its connections stay open."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        """To every process of it."""
        for pid in self._pids():
            with contextlib.suppress(ProcessLookupError):  # it served somebody who has gone
                os.kill(pid, number)

    def _end(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)
        self._process.wait(START_S)
        self._process = None

    def _pids(self) -> list[int]:
        assert self._process is not None
        children = subprocess.run(
            ["pgrep", "-P", str(self._process.pid)], capture_output=True, text=True, check=False
        )
        return [self._process.pid, *map(int, children.stdout.split())]

    def _conninfo(self, database: str) -> str:
        return f"host=127.0.0.1 port={self.port} user={USER} dbname={database} connect_timeout=5"

    def _run(self, *command: object) -> None:
        done = subprocess.run(
            [str(word) for word in command],
            capture_output=True, text=True, check=False, cwd="/tmp", **self._owner,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(done.stderr)
