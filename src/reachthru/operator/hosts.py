"""`reachthru hosts`: the compute nodes and how their agents are; which of them never return."""

import argparse
import urllib.parse

from reachthru.operator import api, listing, names, output
from reachthru.operator.listing import Column, Item, Listing, by_word, field

HELP = "the compute nodes and how their agents are"
LATE_MS = 100.0


def _outbox(host: Item) -> str | None:
    """A controller of 0.1.0 knows nothing of outboxes."""
    durable = host.get("outbox_durable")
    return None if durable is None else "on disk" if durable else "IN MEMORY ONLY"


def _is_durable(outbox: str | None) -> str:
    return "bad" if outbox == "IN MEMORY ONLY" else ""


COLUMNS = (
    field("host"),
    field("state", style=by_word(online="good", offline="bad")),
    field("guests"),
    field("lateness_ms", style=lambda ms: "doubtful" if ms > LATE_MS else ""),
    field("agent_version", spare=1),
    field("waiting", style=lambda waiting: "doubtful" if waiting else ""),
    Column("outbox", _outbox, style=_is_durable, spare=2),
)

HOSTS = Listing(
    "hosts",
    COLUMNS,
    read=lambda controller, _args: controller.get("/v1/hosts"),
    items=lambda answer: list(answer["hosts"]),
    badness=lambda item: (
        item["state"] == "online",
        item.get("outbox_durable", True),
        item["lateness_ms"] <= LATE_MS,
        item["host"],
    ),
    key=lambda item: item["host"],
)


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser(
        "hosts", help=HELP, description=f"Lists {HELP}, the worst first."
    )
    listing.add_options(parser, HOSTS)
    words = parser.add_subparsers(title="instead of a list", metavar="forget")
    text = "a host never returns: its loss, and the faults that its agent raised, end"
    forget = words.add_parser("forget", help=text, description=f"Says that {text}.")
    api.add_options(forget)
    names.complete(forget.add_argument("host", metavar="HOST"), names.HOSTS)
    forget.set_defaults(run=run_forget)


def run_forget(args: argparse.Namespace) -> int:
    answer = api.Api(args).delete(f"/v1/hosts/{urllib.parse.quote(args.host, safe='')}")
    if args.json:
        output.show_json(answer)
    else:
        output.say(output.plain(f"{args.host} is forgotten; faults cleared: {answer['cleared']}"))
    return 0
