"""`reachthru groups`: the server groups and where their members are."""

import argparse
from typing import Any

from reachthru.operator import listing
from reachthru.operator.listing import Item, Listing, by_word, field

HELP = "the server groups and where their members are"
COLUMNS = (
    field("group", style=lambda _id: "quiet", spare=2),
    field("group_name"),
    field("uuid", style=lambda _uuid: "quiet", spare=1),
    field("name"),
    field("host"),
    field("state", style=by_word(active="good", error="bad", deleted="bad")),
)
_FINE = ("active", "running")


def _members(answer: Any) -> list[Item]:
    return [
        {**member, "group": group["id"], "group_name": group["name"]}
        for group in answer["groups"]
        for member in group["members"]
    ]


GROUPS = Listing(
    "members of groups",
    COLUMNS,
    read=lambda controller, _args: controller.get("/v1/groups"),
    items=_members,
    badness=lambda item: (
        item["state"] != "error",
        item["state"] in _FINE,
        item["group_name"],
        item["group"],
        item["name"],
    ),
    key=lambda item: (item["group"], item["uuid"]),
)


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser(
        "groups", help=HELP, description=f"Lists {HELP}, those in trouble first."
    )
    listing.add_options(parser, GROUPS)
