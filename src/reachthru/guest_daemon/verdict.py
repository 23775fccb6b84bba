"""Many health results, one answer to a challenge."""

from collections.abc import Sequence

from msgspec import Struct

from reachthru.protocol.messages import LOG_MSG_LIMIT_BYTES, clip_text


class Verdict(Struct, frozen=True):
    """`log_msg` fits the wire's field; it is empty when healthy."""

    healthy: bool
    log_msg: str


def judge(problems: Sequence[str]) -> Verdict:
    """Healthy with no problem; otherwise the first one and how many more there are."""
    if not problems:
        return Verdict(True, "")
    more = f" (+{len(problems) - 1} more)" if len(problems) > 1 else ""
    return Verdict(False, clip_text(problems[0], LOG_MSG_LIMIT_BYTES - len(more)) + more)
