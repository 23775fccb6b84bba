"""`openstack guest health list` and `show`."""

import argparse
from collections.abc import Iterable
from typing import Any

from osc_lib.command import command

from reachthru.openstack_plugins.osc.api import GuestHealthApi
from reachthru.openstack_plugins.osc.cells import YesNo, causes, plain
from reachthru.openstack_plugins.osc.names import server_id

# One that has more is in need of more than this list.
FAULTS_LIMIT = 100


class ListGuestHealth(command.Lister):
    """List the servers that host agents carry, and how they are inside"""

    def take_action(
        self, _parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], Iterable[tuple[Any, ...]]]:
        client: Any = self.app.client_manager
        api: GuestHealthApi = client.guest_health
        columns = ("ID", "Name", "Host", "State", "Registered", "Health", "Last Seen At")
        rows = (
            (
                found.uuid,
                plain(found.name),
                found.host,
                found.state,
                YesNo(found.registered),
                found.health,
                found.last_seen_at,
            )
            for found in api.instances()
        )
        return columns, rows


class ShowGuestHealth(command.ShowOne):
    """Show how one server is inside, and its faults that are active"""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("server", metavar="<server>", help="Server (name or ID)")
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], tuple[Any, ...]]:
        client: Any = self.app.client_manager
        api: GuestHealthApi = client.guest_health
        found = api.instance(server_id(client, parsed_args.server))
        active = api.faults(active=True, server_id=found.uuid, limit=FAULTS_LIMIT)
        shown = {
            "id": found.uuid,
            "name": plain(found.name),
            "host": found.host,
            "state": found.state,
            "registered": YesNo(found.registered),
            "health": found.health,
            "interval_ms": found.interval_ms,
            "last_seen_at": found.last_seen_at,
            "active_faults": causes(active),
        }
        return tuple(shown), tuple(shown.values())
