"""`[bus]`: is there a broker, does it take us, how long is its certificate good for?"""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime

from reachthru.bus import BusDoor, BusUnavailableError, BusUrlError, DoorError
from reachthru.bus.probe import certificate_of, probe
from reachthru.certificates import end_of
from reachthru.doctor import judgement
from reachthru.findings import Finding, ok, wrong
from reachthru.secret_files import shown_url

CHECK = "broker"
_REMEDIES = (
    ("certificate has expired", "renew the broker's certificate"),
    ("certificate is not trusted", "[bus] ca_file must be the authority of the broker's one"),
    ("password", "[bus] username and password_file must be what the broker knows"),
    ("not authorised", "give this user its rights at the broker (packaging/ has them)"),
    ("wants a certificate", "set [bus] cert_file and key_file"),
)
_REMEDY_AWAY = "start the broker, or put [bus] url right; is a firewall between?"


def check_broker(url: str, door: BusDoor) -> Iterator[Finding]:
    shown = shown_url(url)
    try:
        what = asyncio.run(probe(url, door))
    except (BusUrlError, DoorError) as error:
        yield wrong(CHECK, f"[bus] {error}", "put the settings right")
        return
    except BusUnavailableError as error:
        yield wrong(CHECK, f"{shown}: {error}", remedy(str(error)))
        return
    yield ok(CHECK, f"{shown} takes us: {what}")
    try:
        found = certificate_of(url, door)
    except (DoorError, OSError):  # it took us a moment ago
        return
    if found is not None:
        yield judgement.certificate("broker TLS", "the broker's", end_of(found), datetime.now(UTC))


def remedy(reason: str) -> str:
    """For a reason in the carrier's words (bus/*/reasons.py)."""
    return next((what for words, what in _REMEDIES if words in reason), _REMEDY_AWAY)
