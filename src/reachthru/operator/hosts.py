"""`reachthru hosts`: the compute nodes and how their agents are; which of them never return."""

import argparse
import urllib.parse
from typing import Any

from reachthru.operator import api, output

HELP = "the compute nodes and how their agents are"
COLUMNS = ("host", "state", "guests", "lateness_ms", "agent_version", "waiting", "outbox")


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser("hosts", help=HELP, description=f"Lists {HELP}.")
    api.add_options(parser)
    parser.set_defaults(run=run)
    words = parser.add_subparsers(title="instead of a list", metavar="forget")
    text = "a host never returns: its loss, and the faults that its agent raised, end"
    forget = words.add_parser("forget", help=text, description=f"Says that {text}.")
    api.add_options(forget)
    forget.add_argument("host", metavar="HOST")
    forget.set_defaults(run=run_forget)


def run_forget(args: argparse.Namespace) -> int:
    answer = api.Api(args).delete(f"/v1/hosts/{urllib.parse.quote(args.host, safe='')}")
    if args.json:
        output.show_json(answer)
    else:
        output.show_line([f"{args.host} is forgotten; faults cleared: {answer['cleared']}"])
    return 0


def run(args: argparse.Namespace) -> int:
    answer = api.Api(args).get("/v1/hosts")
    if args.json:
        output.show_json(answer)
    else:
        output.show_rows(COLUMNS, map(_row, answer["hosts"]))
    return 0


def _row(host: dict[str, Any]) -> output.Row:
    """A controller of 0.1.0 knows nothing of outboxes."""
    durable = host.get("outbox_durable")
    outbox = None if durable is None else "on disk" if durable else "IN MEMORY ONLY"
    shown = {**host, "waiting": host.get("waiting"), "outbox": outbox}
    return [shown[name] for name in COLUMNS]
