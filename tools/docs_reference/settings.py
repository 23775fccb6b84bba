"""reference/settings-*.md: every setting of the three daemons, with its default."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import NODEFAULT, structs
from oslo_config import cfg

from docs_reference.markdown import GENERATED, code, table
from reachthru import service
from reachthru.controller_server import keystone_session
from reachthru.controller_server import settings as controller
from reachthru.controller_server.nova.settings import options as nova_options
from reachthru.guest_daemon import settings as guest
from reachthru.host_agent import settings as host

_KEYSTONE = """
This section also takes keystoneauth's own options, as in every OpenStack service:
`auth_type`, `auth_url`, `username`, `password`, `project_name`, `user_domain_name`,
`project_domain_name`, `region_name`, `valid_interfaces`, `application_credential_id` and the
others of [its plugins](https://docs.openstack.org/keystoneauth/latest/plugin-options.html).
"""
_STRICT = (
    "A name that is not here, or a value that is not allowed, ends the daemon at its start, with"
    " one line that says what is."
)


def pages(_docs: Path) -> dict[str, str]:
    return {
        "reference/settings-host.md": _ini(
            "Settings of the host agent",
            "`/etc/reachthru/host.conf`, an INI file, or what `--config-file` names.",
            host.OPTIONS,
        ),
        "reference/settings-controller.md": _ini(
            "Settings of the controller",
            "`/etc/reachthru/controller.conf`, an INI file, or what `--config-file` names.",
            {**controller.OPTIONS, "nova": nova_options()},
        ),
        "reference/settings-guest.md": _guest(),
    }


def _ini(title: str, where: str, options: Mapping[str, Sequence[cfg.Opt]]) -> str:
    parts = [
        f"{GENERATED}\n# {title}\n\n{where} {_STRICT} A comment has a line of its own: behind a"
        " value it would be part of it.\n"
    ]
    theirs = {option.dest for option in keystone_session.options([])} - {"password_file"}
    for section, found in options.items():
        own = [option for option in found if not _is_keystones(option, found, theirs)]
        parts.append(f"\n## [{section}]\n\n{table(_COLUMNS, map(_ini_row, own))}")
        if len(own) < len(found):
            parts.append(_KEYSTONE)
    return "".join(parts)


_COLUMNS = ("key", "default", "allowed", "meaning")


def _is_keystones(option: cfg.Opt, section: Sequence[cfg.Opt], theirs: set[str]) -> bool:
    has_keystone = any(other.dest == "auth_type" for other in section)
    return has_keystone and option.dest in theirs and option.help in _helps_of_keystone()


def _helps_of_keystone() -> set[str | None]:
    return {option.help for option in keystone_session.options([])}


def _ini_row(option: cfg.Opt) -> tuple[str, str, str, str]:
    default = option.default
    if isinstance(default, list):
        default = ", ".join(map(str, default))
    shown = "" if default is None else str(default).lower() if default in (True, False) else default
    return code(option.name), code(shown), _allowed(option), option.help or ""


def _allowed(option: cfg.Opt) -> str:
    words = service._allowed(option)  # as its error messages have it
    return {"String": "text", "List of String": "a list, with commas"}.get(
        words, "a list, with commas" if words.startswith("List") else words
    )


_TOML = (
    ("[channel]", guest.Channel, "The port to the host."),
    ("[heartbeat]", guest.Heartbeat, "What this VM asks of its host."),
    ("[[health_check]]", guest.HealthCheck, f"As many as you like. {guest.HealthCheck.__doc__}"),
    ("[applications]", guest.Applications, "The door of the applications in this VM."),
)

# Here and not in the daemon, which is in every VM and small.
_TOML_MEANING = {
    "port": "where the host is",
    "dialect": "`mux`: the base layer and every application; `bare`: heartbeats only",
    "service_level": "how soon a fault must be known: SAL1 is 400 ms between challenges, SAL2 2 s,"
    " SAL3 4 s; SAL1 where neither this nor `interval_ms` is given",
    "interval_ms": "between challenges, in the place of `service_level`",
    "corrective_action": "what the host should do about an unhealthy VM; `none`: not even a fault",
    "heartbeat.name": "what faults call this VM; its host name by default",
    "name": "what faults call this check",
    "command": "0 is healthy; the first line of its output becomes the fault's text",
    "systemd_unit": "healthy while this unit is active",
    "unhealthy_file": "unhealthy while this file is there; its first line becomes the fault's text",
    "interval_s": "between two runs",
    "timeout_s": "a run that takes longer is unhealthy",
    "socket": "where applications register, and commands ask",
}


def _guest() -> str:
    parts = [
        f"{GENERATED}\n# Settings of the guest daemon\n\n`{guest.DEFAULT_PATH}`, a TOML file, or"
        f" what `--config` names. Without one, every default counts. {_STRICT}\n"
    ]
    for title, section, text in _TOML:
        rows = [
            (
                code(field.name),
                code(_toml_default(field)),
                section.ALLOWED[field.name],
                _TOML_MEANING.get(f"{title[1:-1]}.{field.name}") or _TOML_MEANING[field.name],
            )
            for field in structs.fields(section)
        ]
        parts.append(f"\n## {title}\n\n{text.strip()}\n\n{table(_COLUMNS, rows)}")
    return "".join(parts)


def _toml_default(field: structs.FieldInfo) -> str:
    default = field.default
    if default is NODEFAULT or default is None or default == "":
        return ""
    return f'"{default}"' if isinstance(default, str) else str(default)
