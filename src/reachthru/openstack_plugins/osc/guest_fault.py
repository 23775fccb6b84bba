"""`openstack guest fault list`."""

import argparse
from collections.abc import Iterable
from typing import Any

from osc_lib.cli.parseractions import NonNegativeAction
from osc_lib.command import command

from reachthru.openstack_plugins.osc.api import GuestHealthApi
from reachthru.openstack_plugins.osc.cells import plain, told
from reachthru.openstack_plugins.osc.names import server_id
from reachthru.openstack_plugins.osc.records import Fault


class ListGuestFault(command.Lister):
    """List what is or was wrong inside servers, the newest first"""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("--active", action="store_true", help="Only what is not cleared")
        parser.add_argument(
            "--server", metavar="<server>", help="Only faults of this server (name or ID)"
        )
        parser.add_argument("--host", metavar="<host>", help="Only faults on this compute node")
        parser.add_argument(
            "--limit",
            metavar="<num-faults>",
            type=int,
            default=100,
            action=NonNegativeAction,
            help="The maximum number of faults to list (default: %(default)s)",
        )
        parser.add_argument(
            "--marker",
            metavar="<fault>",
            help="Only what follows this fault (ID), the last one of a list before",
        )
        parser.add_argument(
            "--long", action="store_true", help="List additional fields: what was done, who knows"
        )
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], Iterable[tuple[Any, ...]]]:
        client: Any = self.app.client_manager
        api: GuestHealthApi = client.guest_health
        wanted = parsed_args.server
        faults = api.faults(
            active=parsed_args.active or None,
            server_id=server_id(client, wanted) if wanted is not None else None,
            host=parsed_args.host,
            limit=parsed_args.limit,
            marker=parsed_args.marker,
        )
        rows = [_row(fault, is_long=parsed_args.long) for fault in faults]
        return _COLUMNS + (_MORE_COLUMNS if parsed_args.long else ()), rows


_COLUMNS = (
    "ID", "Status", "Kind", "Severity", "Server ID", "Server Name", "Host", "Raised At",
    "Cleared At", "Detail",
)  # fmt: skip
_MORE_COLUMNS = ("Corrective Action", "Correlated To", "Told")


def _row(fault: Fault, *, is_long: bool) -> tuple[Any, ...]:
    row: tuple[Any, ...] = (
        fault.id,
        fault.status,
        fault.kind,
        fault.severity,
        fault.instance_uuid or None,  # a host's own fault has none
        plain(fault.instance_name) or None,
        fault.host,
        fault.raised_at,
        fault.cleared_at,
        plain(fault.detail),
    )
    if is_long:
        row += (fault.corrective_action, fault.correlated_to, told(fault.deliveries))
    return row
