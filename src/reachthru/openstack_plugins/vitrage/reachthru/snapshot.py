"""Every active fault, asked of a controller's REST API."""

from pathlib import Path
from typing import Any

import requests

PAGE = 2000  # faults in one answer


class SnapshotError(Exception):
    """No controller could be asked; one line for the operator."""


def active_faults(
    urls: list[str], timeout_s: float, headers: dict[str, str], **tls: Any
) -> list[Any]:
    """Of the first controller that answers. Raises `SnapshotError`.

    `tls` is requests' `verify` and `cert`.
    """
    reasons = []
    for url in urls:
        with requests.Session() as session:
            try:
                return _all_pages(session, url, timeout=timeout_s, headers=headers, **tls)
            except SnapshotError as error:
                reasons.append(f"{url}: {error}")
            # requests lets OSError through where a certificate file can't be read.
            except (requests.RequestException, OSError) as error:
                reasons.append(f"{url}: {_reason(error)}")
    why = "; ".join(reasons) or "[reachthru] url is empty"
    raise SnapshotError(f"no snapshot of faults: {why}")


def _all_pages(session: requests.Session, url: str, **how: Any) -> list[Any]:
    faults: dict[str, Any] = {}
    marker: dict[str, str] = {}
    while True:
        page = _page(session, url, marker, **how)
        before = len(faults)
        faults.update((fault["id"], fault) for fault in page)
        if len(page) < PAGE:
            # No sink is told of those in a maintenance window; nor is Vitrage.
            return [fault for fault in faults.values() if fault.get("maintenance") is None]
        if len(faults) == before:
            raise SnapshotError("it repeats itself: a controller that is too old for this many")
        marker = {"marker": page[-1]["id"]}


def _page(session: requests.Session, url: str, marker: dict[str, str], **how: Any) -> list[Any]:
    answer = session.get(
        f"{url.rstrip('/')}/v1/faults",
        params={"active": "true", "limit": str(PAGE), **marker},
        allow_redirects=False,  # a controller sends nobody elsewhere, and nobody else gets a token
        **how,
    )
    if answer.status_code != requests.codes.ok:
        raise SnapshotError(f"it answered {answer.status_code} {answer.reason}")
    try:
        page = answer.json()["faults"]
        if not all(isinstance(fault["id"], str) for fault in page):
            raise TypeError
    except (ValueError, KeyError, TypeError) as error:
        raise SnapshotError("that is not the answer of a controller") from error
    return list(page)


def _reason(error: BaseException) -> str:
    """What happened at the bottom: requests and urllib3 wrap it several times over."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    said = getattr(error, "strerror", None) or str(error) or type(error).__name__
    if isinstance(error, ConnectionResetError):
        # asyncio's server goes without a word where a client's certificate is missing or wrong.
        return f"{said}; does it want a certificate? [reachthru] cert_file, key_file"
    return str(said)


def first_line(file: str) -> str:
    """Raises `SnapshotError`, without a word of what is in it."""
    try:
        lines = Path(file).read_text().split()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise SnapshotError(f"[reachthru] token_file = {file}: {reason}") from None
    if not lines:
        raise SnapshotError(f"[reachthru] token_file = {file}: it is empty")
    return lines[0]
