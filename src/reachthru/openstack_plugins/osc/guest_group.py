"""`openstack guest group show`."""

import argparse
from typing import Any

from osc_lib.command import command

from reachthru.openstack_plugins.osc.cells import members, plain
from reachthru.openstack_plugins.osc.names import group


class ShowGuestGroup(command.ShowOne):
    """Show a server group as its guests may know it: where its members are and how they are"""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("group", metavar="<group>", help="Server group (name or ID)")
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], tuple[Any, ...]]:
        client: Any = self.app.client_manager
        found = group(client.guest_health, parsed_args.group)
        shown = {"id": found.id, "name": plain(found.name), "members": members(found.members)}
        return tuple(shown), tuple(shown.values())
