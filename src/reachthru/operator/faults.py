"""`reachthru faults`: what is or was wrong, who has been told, and why somebody has not."""

import argparse
from typing import Any

from reachthru.operator import api, listing, names, output, times
from reachthru.operator.listing import Column, Item, Listing, by_word, field

HELP = "what is or was wrong, and who has been told"
_SEVERITIES = ("critical", "major", "minor", "warning")


def _told(fault: Item) -> str:
    return ", ".join(_delivery(one) for one in fault["deliveries"])


def _delivery(delivery: Item) -> str:
    """With the reason, where the sink was not told yet, or would not be."""
    text = f"{delivery['sink']} {delivery['state']}"
    why = delivery.get("last_error")
    if why is None or delivery["state"] not in ("pending", "failed"):
        return text
    again = delivery.get("next_attempt_at") if delivery["state"] == "pending" else None
    return f"{text} ({why}; again {times.ago(again)})" if again else f"{text} ({why})"


def _is_told(told: str) -> str:
    return "bad" if " failed" in told else "doubtful" if " pending" in told else ""


COLUMNS = (
    field("raised_at", human=times.ago),
    field("cleared_at", human=times.ago, spare=3),
    field("status", style=by_word(raised="bad", cleared="good")),
    field("kind"),
    field("severity", style=by_word(critical="bad", major="doubtful"), spare=4),
    Column("instance", lambda fault: fault["instance_name"] or None, elastic=True),
    Column(
        "uuid", lambda fault: fault["instance_uuid"] or None, style=lambda _uuid: "quiet", spare=2
    ),
    field("host"),
    field("correlated_to", spare=6),
    Column("told", _told, style=_is_told, elastic=True),
    field("detail", elastic=True, spare=1),
    field("maintenance", spare=5),
)


def _badness(fault: Item) -> tuple[bool, int]:
    """Stable: of those that are alike, the controller's order stands, the newest first."""
    severity = fault["severity"]
    order = _SEVERITIES.index(severity) if severity in _SEVERITIES else len(_SEVERITIES)
    return fault["status"] != "raised", order if fault["status"] == "raised" else 0


def _list(controller: api.Api, args: argparse.Namespace) -> Any:
    return controller.get(
        "/v1/faults",
        active="true" if args.active else None,
        instance=args.instance,
        host=args.host,
        marker=args.marker,
        limit=str(args.limit),
    )


FAULTS = Listing(
    "faults",
    COLUMNS,
    read=_list,
    items=lambda answer: list(answer["faults"]),
    badness=_badness,
    key=lambda fault: fault["id"],
)


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser(
        "faults", help=HELP, description=f"Lists {HELP}: the worst first, then the newest."
    )
    parser.add_argument("--active", action="store_true", help="only what is not cleared")
    names.complete(
        parser.add_argument("--instance", metavar="UUID", help="only this instance's"),
        names.INSTANCES,
    )
    names.complete(
        parser.add_argument("--host", metavar="HOST", help="only this compute node's"), names.HOSTS
    )
    parser.add_argument("--limit", type=int, default=100, help="at most so many (%(default)s)")
    parser.add_argument(
        "--marker", metavar="ID", help="only those that follow this one, the last of a list before"
    )
    listing.add_options(parser, FAULTS)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    if args.watch and (args.json or not output.is_terminal()):
        return _follow(api.Api(args), args)
    return listing.run(args)


def _follow(controller: api.Api, args: argparse.Namespace) -> int:
    """In a pipe every change is a line, as it happens; none is missed while the controller is
    away, as far as --limit goes.
    """
    from reachthru.operator.watch import again_and_again  # noqa: PLC0415

    shown: set[tuple[str, str]] = set()
    if not args.json:
        output.show_line([column.name.upper() for column in COLUMNS])
    for kind, event in again_and_again(controller.follow):
        if kind == "following":
            news = list(reversed(_list(controller, args)["faults"]))
        elif kind == "fault" and _is_wanted(event, args):
            news = [event]  # a clearing too where --active is given: what was shown has ended
        else:
            continue
        for fault in news:
            if (fault["id"], fault["status"]) not in shown:
                _show(args, fault)
        shown |= {(fault["id"], fault["status"]) for fault in news}
    return 0


def _is_wanted(fault: Item, args: argparse.Namespace) -> bool:
    return args.instance in (None, fault["instance_uuid"]) and args.host in (None, fault["host"])


def _show(args: argparse.Namespace, fault: Item) -> None:
    if args.json:
        output.show_json(fault)
    else:
        output.show_line(FAULTS.plain_row(fault))
