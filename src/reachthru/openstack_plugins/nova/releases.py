"""Which releases of Nova this was made for, and what to tell an operator who runs another one."""

import inspect
import logging
from importlib import metadata

_TRIED = {34: "2026.2"}
SUPPORTED = "supported: Nova " + ", ".join(f"{major} ({name})" for major, name in _TRIED.items())
# What we override in the libvirt driver, and its first parameters, which we read.
HOOK = "_get_guest_config"
HOOK_PARAMETERS = ("self", "instance")

_log = logging.getLogger(__name__)


class UnknownReleaseError(ImportError):
    """Nova is not what we know: one line with the versions supported. An ImportError is what makes
    nova-compute say why, and stop."""


def check_driver(parent: type) -> None:
    """That Nova's libvirt driver still has what ours overrides. Raises `UnknownReleaseError`.

    A release that nobody tried, and that still has it, is only logged: a compute node that does
    not start would be worse.
    """
    release = nova_release()
    found = getattr(parent, HOOK, None)
    parameters = tuple(inspect.signature(found).parameters) if found is not None else ()
    if parameters[: len(HOOK_PARAMETERS)] != HOOK_PARAMETERS:
        raise UnknownReleaseError(
            f"reachthru: the libvirt driver of Nova {release} has no {HOOK}(instance, ...),"
            f" where ours adds the port; {SUPPORTED}. Install a reachthru made for it, or set"
            " compute_driver = libvirt.LibvirtDriver and have no ports"
        )
    if not is_supported(release):
        _log.warning(
            "reachthru was not tried with Nova %s (%s); its libvirt driver has what ours needs",
            release,
            SUPPORTED,
        )


def nova_release() -> str:
    """As its package says: "34.0.0"."""
    try:
        return metadata.version("nova")
    except metadata.PackageNotFoundError:
        return "of an unknown release"


def is_supported(release: str) -> bool:
    major = release.partition(".")[0]
    return major.isdecimal() and int(major) in _TRIED
