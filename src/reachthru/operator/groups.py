"""`reachthru groups`: the server groups and where their members are."""

import argparse

from reachthru.operator import api, output

HELP = "the server groups and where their members are"
COLUMNS = ("group", "group_name", "uuid", "name", "host", "state")


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser("groups", help=HELP, description=f"Lists {HELP}.")
    api.add_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    answer = api.Api(args).get("/v1/groups")
    if args.json:
        output.show_json(answer)
        return 0
    rows = [
        [group["id"], group["name"], *(member[name] for name in COLUMNS[2:])]
        for group in answer["groups"]
        for member in group["members"]
    ]
    output.show_rows(COLUMNS, rows)
    return 0
