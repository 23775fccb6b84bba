"""`reachthru maintenance`: for a while, sinks are not told of what somebody works on."""

import argparse
import urllib.parse

from reachthru.operator import api, listing, names, output, times
from reachthru.operator.listing import Item, Listing, by_word, field

HELP = "windows in which faults are shown, and told to no sink"
COLUMNS = (
    field("id"),
    field("scope"),
    field("subject"),
    field("state", style=by_word(active="doubtful", expired="quiet", ended="quiet")),
    field("started_at", human=times.ago, spare=1),
    field("ends_at", human=times.ago),
    field("started_by", spare=2),
    field("reason", elastic=True),
)

WINDOWS = Listing(
    "maintenance windows",
    COLUMNS,
    read=lambda controller, args: controller.get(
        "/v1/maintenance", ended="true" if args.all else None
    ),
    items=lambda answer: list(answer["maintenance"]),
    badness=lambda window: (window["state"] != "active", window["ends_at"]),
    key=lambda window: window["id"],
)


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser("maintenance", help=HELP, description=f"Manages {HELP}.")
    words = parser.add_subparsers(title="commands", metavar="start|list|end", required=True)
    _add_start(words)
    shown = words.add_parser("list", help="those that are active", description=f"Lists {HELP}.")
    shown.add_argument("--all", action="store_true", help="those that are over, too")
    listing.add_options(shown, WINDOWS)
    text = "end one before its time: what is still wrong is told now"
    end = words.add_parser("end", help=text, description=f"{text.capitalize()}.")
    names.complete(end.add_argument("id", metavar="ID"), names.WINDOWS)
    api.add_options(end)
    end.set_defaults(run=run_end)


def _add_start(words: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    text = "from now on, tell no sink of the faults of an instance, a host or a group"
    start = words.add_parser(
        "start",
        help=text,
        description=f"{text.capitalize()}. Faults are found, kept and shown as ever. One that is"
        " still there when the window is over is told then; one that was over before, never.",
    )
    whose = start.add_mutually_exclusive_group(required=True)
    for name, source, metavar in (
        ("instance", names.INSTANCES, "UUID"),
        ("host", names.HOSTS, "HOST"),
        ("group", names.GROUPS, "ID"),
    ):
        names.complete(whose.add_argument(f"--{name}", metavar=metavar), source)
    start.add_argument(
        "--for",
        dest="for_s",
        type=times.duration_s,
        required=True,
        metavar="TIME",
        help="how long: 90s, 30m, 2h, 1h30m, 1d",
    )
    start.add_argument("--reason", default="", help="for the log, and for who else looks")
    api.add_options(start)
    start.set_defaults(run=run_start)


def run_start(args: argparse.Namespace) -> int:
    wanted = {name: getattr(args, name) for name in ("instance", "host", "group")}
    body = {name: value for name, value in wanted.items() if value is not None}
    more = {"for_s": args.for_s, "reason": args.reason}
    _say(args, api.Api(args).post("/v1/maintenance", body | more))
    return 0


def run_end(args: argparse.Namespace) -> int:
    window_id = urllib.parse.quote(args.id, safe="")
    _say(args, api.Api(args).delete(f"/v1/maintenance/{window_id}"))
    return 0


def _say(args: argparse.Namespace, window: Item) -> None:
    if args.json:
        output.show_json(window)
        return
    about = f"{window['id']}: maintenance of {window['scope']} {window['subject']}"
    if window["state"] == "active":
        output.say(output.plain(f"{about} until {window['ends_at']}"))
    else:
        output.say(output.plain(f"{about} is over ({window['state']})"))
