"""Runs checks, each within a limit: what is broken may be silent."""

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Generic, NamedTuple, TypeVar

from reachthru.findings import Finding, wrong

LIMIT_S = 20.0

Context = TypeVar("Context")


class Check(NamedTuple, Generic[Context]):
    """`look` blocks; what it raises is a finding, too."""

    name: str
    look: Callable[[Context], Iterable[Finding]]


def run_checks(checks: Sequence[Check[Context]], context: Context) -> list[Finding]:
    """In their order."""
    return [finding for check in checks for finding in _run(check, context)]


def _run(check: Check[Context], context: Context) -> list[Finding]:
    found: list[Finding] = []
    done = threading.Event()

    def look() -> None:
        try:
            found.extend(check.look(context))
        except Exception as error:
            text = f"could not be looked at: {type(error).__name__}: {error}"
            found.append(wrong(check.name, " ".join(text.split()), "please report this"))
        finally:
            done.set()

    # A daemon: a stop of this command waits for nobody who is frozen.
    threading.Thread(target=look, name=check.name, daemon=True).start()
    # Not a join: the thread that imports eventlet, as oslo.messaging does, never ends.
    if not done.wait(LIMIT_S):
        text = f"no answer within {LIMIT_S:g} s: it hangs"
        return [*found, wrong(check.name, text, "restart what is asked there")]
    return found
