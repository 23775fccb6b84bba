"""`reachthru doctor`: what is wrong with this machine's part of an installation."""

import argparse
import os
import sys
from importlib.util import find_spec
from pathlib import Path

from reachthru import findings
from reachthru.doctor import terminal
from reachthru.findings import Finding
from reachthru.operator import api

_SETTINGS = {
    "guest": Path("/etc/reachthru/guest.toml"),
    "host": Path("/etc/reachthru/host.conf"),
    "controller": Path("/etc/reachthru/controller.conf"),
}
# A compute node's package brings what looks at a compute node only.
ROLES = {role: path for role, path in _SETTINGS.items() if find_spec(f"reachthru.doctor.{role}")}


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser(
        "doctor",
        help="say what is wrong with this machine's installation",
        description="Looks at this machine's part of an installation, and says what is wrong and"
        " how to mend it. Exit: 0 fine (warnings too), 1 something is wrong, 2 wrong usage.",
    )
    parser.add_argument(
        "--role",
        choices=list(ROLES),
        help="what this machine is (default: each part whose settings are in /etc/reachthru)",
    )
    parser.add_argument("--config-file", type=Path, metavar="F", help="its settings; needs --role")
    api.add_options(parser)
    parser.set_defaults(run=run, parser=parser)


def run(args: argparse.Namespace) -> int:
    args.url_given = args.url != api.DEFAULT_URL or "REACHTHRU_URL" in os.environ
    if args.config_file is not None and args.role is None:
        args.parser.error("--config-file needs --role")
    roles = [args.role] if args.role else [role for role, path in ROLES.items() if path.exists()]
    if not roles:
        args.parser.error("there are no settings in /etc/reachthru; --role says what this is")
    found: list[Finding] = []
    for role in roles:
        part = _examine(role, args)
        # Where a machine has several parts, each finding says whose it is.
        found += [one._replace(check=f"{role}: {one.check}") for one in part] if roles[1:] else part
    if args.json:
        sys.stdout.write(findings.as_json(found) + "\n")
    else:
        terminal.show(found)
    return findings.exit_status(found)


def _examine(role: str, args: argparse.Namespace) -> list[Finding]:
    # Only what the asked part needs: a guest has no oslo.config, a host no SQLAlchemy.
    if role == "guest":
        from reachthru.doctor import guest  # noqa: PLC0415

        return guest.examine(args.config_file)
    if role == "host":
        from reachthru.doctor import host  # noqa: PLC0415

        return host.examine(args.config_file, args)
    from reachthru.doctor import controller  # noqa: PLC0415

    return controller.examine(args.config_file, args)
