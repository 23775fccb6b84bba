"""`reachthru hosts`: the compute nodes and how their agents are."""

import argparse

from reachthru.operator import api, output

HELP = "the compute nodes and how their agents are"
COLUMNS = ("host", "state", "guests", "lateness_ms", "agent_version")


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser("hosts", help=HELP, description=f"Lists {HELP}.")
    api.add_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    answer = api.Api(args).get("/v1/hosts")
    if args.json:
        output.show_json(answer)
    else:
        output.show_rows(COLUMNS, ([host[name] for name in COLUMNS] for host in answer["hosts"]))
    return 0
