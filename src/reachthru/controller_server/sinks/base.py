"""What a sink is: somebody who must be told of every fault change, in order, at least once.

A sink says yes by returning. Whatever it raises is a no that is tried again, with growing
pauses, unless it is `RefusedError`: that change will never be taken, and is marked as failed.
The caller holds to a sink's time limit; no sink waits for another one.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Self

from oslo_config import cfg

from reachthru.controller_server.model import Fault
from reachthru.controller_server.store.database import Database


class RefusedError(Exception):
    """The sink will not take this change, however often it is asked."""


class NotNowError(Exception):
    """The sink answered, and did not take the change; it may later."""


class HeldError(NotNowError):
    """The sink is well, and keeps this change for later by a rule of its own."""

    def __init__(self, why: str, rest_s: float) -> None:
        super().__init__(why)
        self.rest_s = rest_s


class Sink(ABC):
    """Use as `async with sink:`.

    `OPTIONS` are those of the section [sink_<name>].
    """

    name: ClassVar[str]
    OPTIONS: ClassVar[Sequence[cfg.Opt]] = ()
    timeout_s: float = 5.0
    # Changes that may be on their way at once, each of another instance.
    concurrency: int = 1
    # How often it is told of every active fault again; None: never.
    reconcile_s: float | None = None

    @classmethod
    @abstractmethod
    def configured(cls, path: Path, conf: cfg.ConfigOpts) -> Self:
        """As the settings in `path` say. Raises `SettingsError`. Nothing is opened yet."""

    def remember_in(self, database: Database) -> None:  # noqa: B027  (most have nothing to keep)
        """Called before it is opened: where to keep what a restart must not forget."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:  # noqa: B027  (many hold nothing)
        """Closes what it holds."""

    @abstractmethod
    async def deliver(self, fault: Fault) -> None:
        """Tells of one change; `fault` is as of that change. May be called again for it."""
