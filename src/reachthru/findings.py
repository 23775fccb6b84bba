"""What a look at an installation found: one line each, with what to do. Standard library."""

import json
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import NamedTuple


class Mark(StrEnum):
    """Ordered from fine to bad."""

    OK = "ok"
    WARNING = "warning"
    WRONG = "wrong"


class Finding(NamedTuple):
    """`check` is what was looked at, in a word or two. `remedy` is what to do, "" for nothing."""

    mark: Mark
    check: str
    text: str
    remedy: str = ""


def ok(check: str, text: str) -> Finding:
    return Finding(Mark.OK, check, text)


def warning(check: str, text: str, remedy: str) -> Finding:
    return Finding(Mark.WARNING, check, text, remedy)


def wrong(check: str, text: str, remedy: str) -> Finding:
    return Finding(Mark.WRONG, check, text, remedy)


def running(check: str, text: str, theirs: str, ours: str, service: str) -> Finding:
    """A daemon of version `theirs`, where `ours` is installed. `text`: what else is known of it."""
    if theirs == ours:
        return ok(check, f"{text}, version {ours}")
    return warning(
        check,
        f"{text}, version {theirs}, and {ours} is installed: it was not started again",
        f"systemctl restart {service}",
    )


def exit_status(findings: Iterable[Finding]) -> int:
    """1 where something is wrong; a warning is fine."""
    return 1 if any(finding.mark is Mark.WRONG for finding in findings) else 0


def line(finding: Finding, check_width: int = 0) -> str:
    remedy = f"; {finding.remedy}" if finding.remedy else ""
    text = f"{finding.mark:<8}{finding.check:<{check_width}}  {finding.text}{remedy}"
    # Some of it was said by others: nothing may move the cursor of an operator's terminal.
    return "".join(char if char.isprintable() else " " for char in text)


def lines(findings: Sequence[Finding]) -> list[str]:
    width = max((len(finding.check) for finding in findings), default=0)
    return [line(finding, width) for finding in findings]


def as_json(findings: Sequence[Finding]) -> str:
    """`{"findings": [{"mark", "check", "text", "remedy"}]}`, one line."""
    return json.dumps({"findings": [finding._asdict() for finding in findings]}, ensure_ascii=False)
