"""Findings for people: coloured on a terminal, plain in a pipe."""

import sys
from collections.abc import Sequence

from reachthru import findings
from reachthru.findings import Finding, Mark
from reachthru.operator import output
from reachthru.operator.output import Cell

_STYLES = {Mark.OK: "good", Mark.WARNING: "doubtful", Mark.WRONG: "bad"}


def show(found: Sequence[Finding]) -> None:
    for finding, line in zip(found, findings.lines(found), strict=True):
        mark, rest = line[: len(finding.mark)], line[len(finding.mark) :]
        sys.stdout.write(output.coloured(Cell(mark, _STYLES[finding.mark])) + rest + "\n")
    wrong = sum(finding.mark is Mark.WRONG for finding in found)
    warnings = sum(finding.mark is Mark.WARNING for finding in found)
    sys.stdout.write(f"{len(found)} looked at, {wrong} wrong, {warnings} to look after\n")
