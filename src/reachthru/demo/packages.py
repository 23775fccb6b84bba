"""Debian packages, fetched and unpacked in a folder of our own: with apt-get, but not as root."""

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from reachthru.demo.errors import DemoError

KERNEL_META_PACKAGE = "linux-image-cloud-amd64"
_DOWNLOAD_TIMEOUT_S = 300


class PackageError(DemoError):
    """A package could not be had: one line that says which and what to do."""


def fetch(names: Sequence[str], cache: Path, progress: Callable[[str], None]) -> dict[str, Path]:
    """The unpacked folder of each package in `names`, downloaded at most once.

    `KERNEL_META_PACKAGE` stands for the newest kernel image that it depends on. What is in
    `cache` is used as it is, with no look at the network: remove the folder to get news.
    """
    index = cache / "packages.json"
    known = _read_index(index, cache)
    missing = [name for name in names if name not in known]
    if missing:
        for tool in ("apt-get", "apt-cache", "dpkg"):
            if shutil.which(tool) is None:
                raise PackageError(f"no {tool} here: the guest image is made of Debian packages")
        progress(f"downloading {len(missing)} Debian packages")
        cache.mkdir(parents=True, exist_ok=True)
        try:
            known |= _download(missing, cache)
        except PackageError:
            if os.geteuid() != 0:
                raise
            progress("the package lists are missing or old: fetching them")
            _run(["apt-get", "update", "-qq"])
            known |= _download(missing, cache)
        _write_index(index, known)
    return {name: known[name] for name in names}


def _download(names: Sequence[str], cache: Path) -> dict[str, Path]:
    real = {name: _newest_kernel() if name == KERNEL_META_PACKAGE else name for name in names}
    with tempfile.TemporaryDirectory(dir=cache, prefix="download-") as folder:
        _run(["apt-get", "download", *real.values()], cwd=Path(folder))
        archives = {path.name.split("_")[0]: path for path in Path(folder).glob("*.deb")}
        return {name: _unpack(archives[package], cache) for name, package in real.items()}


def _newest_kernel() -> str:
    listing = _run(["apt-cache", "depends", KERNEL_META_PACKAGE])
    found = re.search(r"Depends: (linux-image-\S+)", listing)
    if found is None:
        raise PackageError(
            f"apt knows no {KERNEL_META_PACKAGE}: run `apt-get update` as root, then try again"
        )
    return found[1]


def _unpack(archive: Path, cache: Path) -> Path:
    """Into a folder named for package and version, complete or not there at all."""
    folder = cache / archive.stem
    if not folder.exists():
        with tempfile.TemporaryDirectory(dir=cache, prefix="unpack-") as partial:
            _run(["dpkg", "-x", str(archive), f"{partial}/content"])
            Path(partial, "content").rename(folder)
    return folder


def _read_index(index: Path, cache: Path) -> dict[str, Path]:
    try:
        folders: dict[str, str] = json.loads(index.read_text())
    except (OSError, ValueError):
        return {}
    return {name: cache / folder for name, folder in folders.items() if (cache / folder).is_dir()}


def _write_index(index: Path, folders: dict[str, Path]) -> None:
    partial = index.with_suffix(".partial")
    partial.write_text(json.dumps({name: path.name for name, path in folders.items()}, indent=2))
    partial.rename(index)


def _run(command: list[str], cwd: Path | None = None) -> str:
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=_DOWNLOAD_TIMEOUT_S,
            check=True,
        )
    except subprocess.CalledProcessError as error:
        reason = (error.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise PackageError(
            f"{' '.join(command[:2])} failed: {reason} (is the network there, and was "
            "`apt-get update` run?)"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise PackageError(
            f"{' '.join(command[:2])} took more than {_DOWNLOAD_TIMEOUT_S} s; is the network there?"
        ) from error
    return done.stdout
