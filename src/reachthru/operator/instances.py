"""`reachthru instances`: the instances that agents carry, and how they are."""

import argparse

from reachthru.operator import api, output

HELP = "the instances that agents carry, and how they are"
COLUMNS = (
    *("uuid", "name", "host", "state", "registered", "health", "interval_ms", "last_seen_at"),
    "note",
)


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser("instances", help=HELP, description=f"Lists {HELP}.")
    api.add_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    answer = api.Api(args).get("/v1/instances")
    if args.json:
        output.show_json(answer)
    else:
        rows = ([instance.get(name) for name in COLUMNS] for instance in answer["instances"])
        output.show_rows(COLUMNS, rows)
    return 0
