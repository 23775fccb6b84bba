"""The processes that play directory guests; their cost is not counted."""

import json
import math
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

SCRIPT = Path(__file__).parent.parent / "tests/integration/host_agent/field_guest.py"
SEED = 20
DELAY_MS = 20  # each answer comes after a seeded random 0 to this
ALL_BEAT_LIMIT_S = 60.0
ANSWERS_PER_S = 10_000  # of one player: some 30 us each, so that it is seldom late


class Player:
    """Use as `with Player(...)`; entering returns when the guests' sockets are there."""

    def __init__(self, folder: Path, count: int, interval_ms: int, seed: int = SEED) -> None:
        self._command = [
            *(sys.executable, str(SCRIPT), str(folder), "--count", str(count)),
            *("--interval-ms", str(interval_ms), "--delay-ms", str(DELAY_MS), "--seed", str(seed)),
        ]

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._expect("ready")
        return self

    def __exit__(self, *error: object) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.communicate()

    def summary(self) -> list[dict[str, Any]]:
        """Each guest's counts so far."""
        self._order("summary", 0)
        guests: list[dict[str, Any]] = self._expect("summary")["guests"]
        return guests

    def hang(self, index: int) -> None:
        """From here on this guest answers nothing."""
        self._order("hang", index)

    def wait_until_all_beat(self) -> None:
        until = time.monotonic() + ALL_BEAT_LIMIT_S
        while not all(guest["answers"] > 0 for guest in self.summary()):
            if time.monotonic() > until:
                raise RuntimeError("not all guests were challenged in time")
            time.sleep(0.5)

    def _order(self, verb: str, index: int) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": verb, "guests": [index]}) + "\n")
        self._process.stdin.flush()

    def _expect(self, event: str) -> dict[str, Any]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            message: dict[str, Any] = json.loads(line)
            if message["event"] == event:
                return message
        raise RuntimeError(f"the players ended before they said {event}")


class Players:
    """As many as it takes, each with its part of the guests; to be used as a `Player` is."""

    def __init__(self, folder: Path, count: int, interval_ms: int) -> None:
        parts = math.ceil(count * 1000 / interval_ms / ANSWERS_PER_S)
        self._players = [
            Player(folder, len(range(part, count, parts)), interval_ms, SEED + part)
            for part in range(parts)
        ]

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for player in self._players:
                stack.enter_context(player)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stack.close()

    def summary(self) -> list[dict[str, Any]]:
        return [guest for player in self._players for guest in player.summary()]

    def wait_until_all_beat(self) -> None:
        for player in self._players:
            player.wait_until_all_beat()
