"""`reachthru faults`: what is or was wrong, and who has been told."""

import argparse
from typing import Any

from reachthru.operator import api, output

HELP = "what is or was wrong, and who has been told"
COLUMNS = (
    "raised_at", "cleared_at", "status", "kind", "severity", "instance", "uuid", "host",
    "correlated_to", "told", "detail",
)  # fmt: skip


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser("faults", help=HELP, description=f"Lists {HELP}, newest first.")
    parser.add_argument("--active", action="store_true", help="only what is not cleared")
    parser.add_argument("--instance", metavar="UUID", help="only this instance's")
    parser.add_argument("--host", metavar="HOST", help="only this compute node's")
    parser.add_argument("--limit", type=int, default=100, help="at most so many (%(default)s)")
    parser.add_argument("--watch", action="store_true", help="then go on as they happen")
    api.add_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    controller = api.Api(args)
    if args.watch:
        return _watch(controller, args)
    answer = _list(controller, args)
    if args.json:
        output.show_json(answer)
    else:
        output.show_rows(COLUMNS, (_row(fault) for fault in answer["faults"]))
    return 0


def _watch(controller: api.Api, args: argparse.Namespace) -> int:
    """Follows first and lists then, so that nothing falls between the two."""
    shown: set[tuple[str, str]] = set()
    for kind, fault in controller.follow():
        if kind == "following":
            listed = list(reversed(_list(controller, args)["faults"]))
            shown = {(fault["id"], fault["status"]) for fault in listed}
            if not args.json:
                output.show_line([column.upper() for column in COLUMNS])
            for old in listed:
                _show(args, old)
        elif kind == "fault" and (fault["id"], fault["status"]) not in shown:
            if args.instance not in (None, fault["instance_uuid"]):
                continue
            if args.host not in (None, fault["host"]):
                continue
            _show(args, fault)  # a clearing too where --active is given: what was shown has ended
    return 0


def _list(controller: api.Api, args: argparse.Namespace) -> Any:
    return controller.get(
        "/v1/faults",
        active="true" if args.active else None,
        instance=args.instance,
        host=args.host,
        limit=str(args.limit),
    )


def _show(args: argparse.Namespace, fault: dict[str, Any]) -> None:
    if args.json:
        output.show_json(fault)
    else:
        output.show_line(_row(fault))


def _row(fault: dict[str, Any]) -> list[object]:
    told = (f"{delivery['sink']} {delivery['state']}" for delivery in fault["deliveries"])
    return [
        fault["raised_at"],
        fault["cleared_at"],
        fault["status"],
        fault["kind"],
        fault["severity"],
        fault["instance_name"],
        fault["instance_uuid"],
        fault["host"],
        fault.get("correlated_to"),
        ", ".join(told),
        fault["detail"],
    ]
