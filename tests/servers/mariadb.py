"""A MariaDB of a test's own, for services that know MySQL only."""

import contextlib
import shutil
import subprocess
import tempfile
import time
import uuid
from pathlib import Path

from servers.ports import free_port

SERVER = Path("/usr/sbin/mariadbd")  # Debian's place; `make setup` installs it
START_S = 60  # 1 on an idle machine


class MariadbServer:
    """Listens on 127.0.0.1:`port`, and lets everybody do everything. Nothing of it lasts."""

    def __init__(self) -> None:
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="reachthru-mariadb-", dir="/tmp"))
        (self.folder / "data").mkdir()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "MariadbServer":
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def make_database(self) -> str:
        """A fresh one; returns its URL."""
        name = f"t{uuid.uuid4().hex[:12]}"
        self._execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
        return f"mysql+pymysql://root@127.0.0.1:{self.port}/{name}"

    def _start(self) -> None:
        # Without tables of users, and so without the two seconds that making them takes.
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    SERVER, "--no-defaults", "--user=root", "--skip-grant-tables",
                    f"--datadir={self.folder}/data", f"--socket={self.folder}/socket",
                    f"--pid-file={self.folder}/pid", "--bind-address=127.0.0.1",
                    f"--port={self.port}", "--innodb-buffer-pool-size=32M",
                    "--innodb-flush-log-at-trx-commit=0",
                ],
                stdout=log, stderr=log,
            )  # fmt: skip
        deadline = time.monotonic() + START_S
        while True:
            with contextlib.suppress(subprocess.CalledProcessError):
                self._execute("SELECT 1")
                return
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise RuntimeError((self.folder / "log").read_text()[-2000:])
            time.sleep(0.05)

    def _execute(self, statement: str) -> None:
        subprocess.run(
            ["mariadb", "--no-defaults", "-S", self.folder / "socket", "-e", statement],
            check=True, capture_output=True,
        )  # fmt: skip
