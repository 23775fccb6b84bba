"""Secrets that stand in files of their own, and URLs with and without theirs.

Only the standard library: the operator's command line must start fast.
"""

import os
import re
import time
from pathlib import Path
from urllib.parse import quote

SIZE_LIMIT_BYTES = 64 * 1024
# How soon a change of a file counts, at the latest.
LOOK_INTERVAL_S = 1.0
_OTHERS_MAY = 0o007
_IN_URL = re.compile(r"://[^/\s@]*@")
_IN_QUERY = re.compile(r"([?&]\w*(?:password|token|secret)=)[^&\s]+")


class SecretFileError(Exception):
    """One line: which file, and what is wrong with it; never what it holds."""


class SecretFile:
    """A file with a secret a line, read anew when it changes. '#' at a line's start: a comment.

    What the file says now is what counts: one that can't be used any more has no secrets.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._looked_at = float("-inf")
        self._seen: object = None
        self._lines: list[str] = []
        self._error: str | None = None

    def lines(self) -> list[str]:
        """The secrets in it, at least one. Raises `SecretFileError`."""
        now = time.monotonic()
        if now - self._looked_at >= LOOK_INTERVAL_S:
            self._looked_at = now
            self._look()
        if self._error is not None:
            raise SecretFileError(self._error)
        return self._lines

    def _look(self) -> None:
        try:
            found = os.stat(self.path)  # noqa: PTH116  (one system call, no object)
            seen = (found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size)
            if seen == self._seen:
                return
            self._lines, self._error = read_secrets(self.path), None
            self._seen = seen
        except OSError as error:
            self._seen, self._error = None, f"{self.path}: {error.strerror}"
        except SecretFileError as error:
            self._seen, self._error = seen, str(error)


def read_secret(path: Path) -> str:
    """The file's only line, as it is. Raises `SecretFileError`."""
    lines = _read(path).splitlines()
    if len(lines) > 1:
        raise SecretFileError(f"{path}: holds {len(lines)} lines; one secret is expected")
    if not lines or not lines[0]:
        raise SecretFileError(f"{path}: holds no secret")
    return lines[0]


def read_secrets(path: Path) -> list[str]:
    """A secret a line, at least one; lines that begin with '#' are comments.

    Raises `SecretFileError`.
    """
    lines = (line.strip() for line in _read(path).splitlines())
    secrets = [line for line in lines if line and not line.startswith("#")]
    if not secrets:
        raise SecretFileError(f"{path}: holds no secret (lines that begin with # are comments)")
    return secrets


def _read(path: Path) -> str:
    """A file that every user of the machine may use is refused: its secret is none."""
    try:
        with path.open("rb") as file:
            # Of what was opened, and not of what has its name by now.
            refuse_open(path, os.fstat(file.fileno()))
            data = file.read(SIZE_LIMIT_BYTES + 1)
    except OSError as error:
        raise SecretFileError(f"{path}: {error.strerror}") from error
    if len(data) > SIZE_LIMIT_BYTES:
        raise SecretFileError(f"{path}: more than {SIZE_LIMIT_BYTES} bytes are no secret")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise SecretFileError(f"{path}: is not UTF-8 text") from None  # the error holds the bytes


def refuse_open(path: object, found: os.stat_result) -> None:
    """Raises `SecretFileError` where every user of the machine may use the file."""
    if found.st_mode & _OTHERS_MAY:
        raise SecretFileError(
            f"{path}: holds a secret, and is open to every user; chmod 640 (or 600) it"
        )


def shown_url(url: str) -> str:
    """`url` as logs and errors may show it: without user, password, query and fragment."""
    scheme, slashes, rest = url.partition("://")
    if not slashes:
        return url.rpartition("@")[2]
    for mark in "?#":
        rest = rest.partition(mark)[0] if rest.rfind(mark) > rest.rfind("@") else rest
    return f"{scheme}{slashes}{rest.rpartition('@')[2]}"


def without_secrets(text: str) -> str:
    """`text`, which a library may have written, with what is secret in its URLs made "***"."""
    return _IN_QUERY.sub(r"\1***", _IN_URL.sub("://***@", text))


def origin(url: str) -> str:
    """`scheme://host[:port]`: a webhook's path may be its secret, too."""
    scheme, slashes, rest = shown_url(url).partition("://")
    return f"{scheme}{slashes}{rest.partition('/')[0]}"


def has_password(url: str) -> bool:
    addresses = url.partition("://")[2].partition("/")[0].split(",")
    return any(":" in address.rpartition("@")[0] for address in addresses)


def with_password(url: str, password: str) -> str:
    """`scheme://user@host...` with the password put in, escaped, for each of several hosts."""
    scheme, slashes, rest = url.partition("://")
    addresses, slash, path = rest.partition("/")
    escaped = quote(password, safe="")
    filled = []
    for address in addresses.split(","):
        user, _at, host = address.rpartition("@")
        filled.append(f"{user}:{escaped}@{host}")
    return f"{scheme}{slashes}{','.join(filled)}{slash}{path}"
