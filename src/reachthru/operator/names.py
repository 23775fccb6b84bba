"""What the shell may complete: names that the controller knows, where it says them quickly."""

import argparse
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from reachthru.operator import api

TIMEOUT_S = 0.8  # somebody has pressed Tab


class Source(NamedTuple):
    """`path` answers {`what`: [{`field`: ...}]}."""

    path: str
    what: str
    field: str


HOSTS = Source("/v1/hosts", "hosts", "host")
INSTANCES = Source("/v1/instances", "instances", "uuid")
GROUPS = Source("/v1/groups", "groups", "id")
WINDOWS = Source("/v1/maintenance", "maintenance", "id")


def complete(action: argparse.Action, source: Source) -> None:
    """`action` takes one of `source`; argcomplete looks for that in its attribute."""
    vars(action)["completer"] = _completer(source)


def _completer(source: Source) -> Callable[..., Iterable[str]]:
    def completer(parsed_args: argparse.Namespace, **_more: Any) -> dict[str, str]:
        try:
            answer = api.Api(parsed_args, timeout_s=TIMEOUT_S).get(source.path)
            found = answer[source.what]
        except (api.ApiError, KeyError, TypeError):
            return {}
        # Shells that can do so show what is behind the name.
        return {str(item[source.field]): str(item.get("name", "")) for item in found}

    return completer
