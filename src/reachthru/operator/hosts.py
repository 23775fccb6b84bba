"""`reachthru hosts`: the compute nodes and how their agents are."""

import argparse
from typing import Any

from reachthru.operator import api, output

HELP = "the compute nodes and how their agents are"
COLUMNS = ("host", "state", "guests", "lateness_ms", "agent_version", "waiting", "outbox")


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser("hosts", help=HELP, description=f"Lists {HELP}.")
    api.add_options(parser)
    parser.set_defaults(run=run)


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
