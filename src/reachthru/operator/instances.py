"""`reachthru instances`: the instances that agents carry, and how they are."""

import argparse

from reachthru.operator import listing, times
from reachthru.operator.listing import Item, Listing, by_word, field

HELP = "the instances that agents carry, and how they are"
COLUMNS = (
    field("uuid", style=lambda _uuid: "quiet", spare=1),
    field("name", elastic=True),
    field("host"),
    field("state", style=by_word(running="good", gone="bad", crashed="bad", io_error="bad")),
    field("registered", style=lambda yes: "" if yes else "doubtful"),
    field("health", style=by_word(healthy="good", unhealthy="bad")),
    field("interval_ms", spare=3),
    field("last_seen_at", human=times.ago, spare=2),
    field("note", spare=4, elastic=True),
)
_FAILED = ("gone", "crashed", "io_error", "post_copy_failed", "paused_unknown")


def _badness(item: Item) -> tuple[int, str, str]:
    order = (
        item["state"] in _FAILED,
        item["health"] == "unhealthy",
        not item["registered"],
        item["state"] != "running",
    )
    return order.index(True) if True in order else len(order), item["name"], item["uuid"]


INSTANCES = Listing(
    "instances",
    COLUMNS,
    read=lambda controller, _args: controller.get("/v1/instances"),
    items=lambda answer: list(answer["instances"]),
    badness=_badness,
    key=lambda item: item["uuid"],
)


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser(
        "instances", help=HELP, description=f"Lists {HELP}, the worst first."
    )
    listing.add_options(parser, INSTANCES)
