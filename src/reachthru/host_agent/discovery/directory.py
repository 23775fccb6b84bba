"""Instances as a folder of sockets, `<port name>.<instance id>.sock`: they come and go with them.

QEMU without libvirt, and tests. Nobody tells why a connection ended, so it is found out::

    the listener accepts again       the guest closed its end of the port
    nobody listens, the file is there    QEMU is gone, and nobody asked for it
    the file is gone                 the instance left as somebody wanted it

Between the end and the verdict lies a settle time, since who tidies up closes first and removes
the file then.
"""

import asyncio
import logging
import os
import re
from collections import Counter
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

from inotify_simple import INotify, flags

from reachthru.host_agent.discovery.base import (
    EVERY_SERVICE,
    PORT_DIALECTS,
    Discovery,
    Port,
    Sink,
)
from reachthru.protocol.faults import Condition

SETTLE_S = 0.030
BACKOFF_MIN_S = 0.1
BACKOFF_MAX_S = 5.0
ID_LIMIT_CHARS = 64

_PORT_NAMES = "|".join(re.escape(name) for name in PORT_DIALECTS)
FILE_NAME = re.compile(rf"({_PORT_NAMES})\.([!-.0-~]{{1,{ID_LIMIT_CHARS}}})\.sock")  # no slash
_CAME = flags.CREATE | flags.MOVED_TO
_WENT = flags.DELETE | flags.MOVED_FROM
_FOLDER_WENT = flags.DELETE_SELF | flags.MOVE_SELF | flags.UNMOUNT | flags.IGNORED

_log = logging.getLogger(__name__)


class _State(Enum):
    NEW = auto()  # never connected
    CONNECTED = auto()
    HUNG_UP = auto()


@dataclass(slots=True, eq=False)
class _File:
    """One port's socket file. `inode` tells it from a later one of the same name."""

    name: str
    uuid: str
    port: Port
    inode: int
    state: _State = _State.NEW
    judged: bool = False
    check: asyncio.TimerHandle | None = None


class DirectoryDiscovery(Discovery):
    """Watches `folder`, which need not exist yet."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, _File] = {}  # by file name
        self._ports_of: Counter[str] = Counter()  # how many files an instance has, by uuid
        self._sink: Sink
        self._rescan = asyncio.Event()
        self._complained = False

    async def run(self, sink: Sink) -> None:
        self._sink = sink
        backoff_s = BACKOFF_MIN_S
        while True:
            try:
                await self._watch()
                backoff_s = BACKOFF_MIN_S
            except OSError as error:
                self._complain(error)
            await asyncio.sleep(backoff_s)
            backoff_s = min(backoff_s * 2, BACKOFF_MAX_S)

    @property
    def answers(self) -> bool:
        return not self._complained

    # --- what the agent's connections say ----------------------------------------------------

    def connected(self, uuid: str, port_name: str) -> None:
        file = self._file(uuid, port_name)
        if file is None:
            return
        before, file.state = file.state, _State.CONNECTED
        file.judged = False
        if before is _State.HUNG_UP:
            self._sink.port_closed(uuid, port_name)
        self._sink.became(uuid, Condition.RUNNING)

    def refused(self, uuid: str, port_name: str, _code: int) -> None:
        file = self._file(uuid, port_name)
        if file is None or file.judged or file.check is not None:
            return
        if file.state is _State.HUNG_UP:
            # Nobody is to be blamed for anything until it is known what happened.
            self._sink.became(uuid, Condition.STARTING_UP)
        elif not self._sink.has_session(uuid):
            return  # an old file, or somebody who does not listen yet
        self._check_soon(file)

    def hung_up(self, uuid: str, port_name: str) -> None:
        file = self._file(uuid, port_name)
        if file is not None:
            file.state = _State.HUNG_UP

    # --- the folder --------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Until the folder goes away, which raises OSError."""
        with INotify(nonblocking=True) as inotify:
            inotify.add_watch(self._folder, _CAME | _WENT | _FOLDER_WENT | flags.ONLYDIR)
            await self._scan()
            if self._complained:
                _log.warning("%s can be read again", self._folder)
                self._complained = False
            loop = asyncio.get_running_loop()
            readable = asyncio.Event()
            loop.add_reader(inotify.fileno(), readable.set)
            try:
                while True:
                    await readable.wait()
                    readable.clear()
                    await self._read(inotify)
            finally:
                loop.remove_reader(inotify.fileno())

    async def _read(self, inotify: INotify) -> None:
        for event in inotify.read(timeout=0):
            if event.mask & _FOLDER_WENT:
                raise FileNotFoundError(2, "the folder went away", str(self._folder))
            if event.mask & flags.Q_OVERFLOW:
                await self._scan()
            elif event.mask & _CAME:
                self._appear(event.name)
            elif event.mask & _WENT and event.name in self._files:
                self._check_soon(self._files[event.name])

    async def _scan(self) -> None:
        names = await asyncio.to_thread(os.listdir, self._folder)
        for name in names:
            self._appear(name)
        for name in set(self._files) - set(names):
            self._check_soon(self._files[name])
        self._sink.synced(set(self._ports_of))

    def _appear(self, name: str) -> None:
        match = FILE_NAME.fullmatch(name)
        inode = self._inode(name)
        if match is None or inode is None:
            return
        known = self._files.get(name)
        if known is not None:
            if known.inode == inode:
                return
            self._leave(known, "another port took its place")
        port = Port(match[1], str(self._folder / name))
        self._files[name] = _File(name, match[2], port, inode)
        self._ports_of[match[2]] += 1
        if self._ports_of[match[2]] == 1:
            self._sink.found(match[2], match[2], Condition.STARTING_UP, EVERY_SERVICE)
        self._sink.port_found(match[2], port)

    def _check_soon(self, file: _File) -> None:
        if file.check is None:
            loop = asyncio.get_running_loop()
            file.check = loop.call_later(SETTLE_S, self._check, file)

    def _check(self, file: _File) -> None:
        """What a hang-up or a removed file meant, now that the dust has settled."""
        file.check = None
        if self._files.get(file.name) is not file:
            return
        inode = self._inode(file.name)
        if inode is None:
            self._leave(file, "its port's file was removed")
        elif inode != file.inode:
            self._appear(file.name)
        elif file.state is not _State.CONNECTED:
            file.judged = True
            self._sink.gone(file.uuid, f"nobody listens on {file.name} any more")

    def _leave(self, file: _File, detail: str) -> None:
        del self._files[file.name]
        if file.check is not None:
            file.check.cancel()
        self._ports_of[file.uuid] -= 1
        if self._ports_of[file.uuid]:
            self._sink.port_lost(file.uuid, file.port.name)
        else:
            del self._ports_of[file.uuid]
            self._sink.left(file.uuid, detail)

    def _file(self, uuid: str, port_name: str) -> _File | None:
        return self._files.get(f"{port_name}.{uuid}.sock")

    def _inode(self, name: str) -> int | None:
        try:
            return (self._folder / name).lstat().st_ino
        except OSError:
            return None

    def _complain(self, error: OSError) -> None:
        if not self._complained:
            self._complained = True
            _log.error(
                "[directory] path = %s can't be watched: %s; trying on until it can",
                *(self._folder, error.strerror),
            )
