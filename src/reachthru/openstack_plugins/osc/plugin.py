"""The door of OpenStackClient (entry points `openstack.cli.extension`).

Every `openstack` command loads this module: it imports nothing that only ours need.
https://docs.openstack.org/python-openstackclient/latest/contributor/plugins.html
"""

import argparse
import importlib
from typing import Any

from osc_lib import exceptions, utils

# Commands are in the entry points `openstack.guest_health.v1`, and the client that `make_client`
# makes is `app.client_manager.guest_health`.
API_NAME = "guest_health"
API_VERSION_OPTION = "os_guest_health_api_version"
API_VERSIONS = ("1",)
DEFAULT_API_VERSION = "1"
SERVICE_TYPE = "guest-health"


def build_option_parser(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """The names are those of clouds.yaml: `os_` goes, and what remains is the key there."""
    parser.add_argument(
        "--os-guest-health-api-version",
        metavar="<guest-health-api-version>",
        default=utils.env("OS_GUEST_HEALTH_API_VERSION"),
        help=f"Guest health API version, default={DEFAULT_API_VERSION} "
        "(Env: OS_GUEST_HEALTH_API_VERSION)",
    )
    parser.add_argument(
        "--os-guest-health-endpoint-override",
        metavar="<url>",
        default=utils.env("OS_GUEST_HEALTH_ENDPOINT_OVERRIDE"),
        help="reachthru's controller, in the place of what the service catalogue says "
        "(Env: OS_GUEST_HEALTH_ENDPOINT_OVERRIDE)",
    )
    return parser


def check_api_version(version: str) -> bool:
    """True: it is one of ours. Raises `CommandError`: without the commands of that version
    `openstack` would say that there is no such command.
    """
    if version not in API_VERSIONS:
        raise exceptions.CommandError(
            f"guest health API version {version}: this client has {', '.join(API_VERSIONS)} "
            "(--os-guest-health-api-version)"
        )
    return True


def make_client(instance: Any) -> Any:
    """`instance` is OpenStackClient's ClientManager, whose session has authenticated."""
    return importlib.import_module("reachthru.openstack_plugins.osc.api").from_client(instance)
