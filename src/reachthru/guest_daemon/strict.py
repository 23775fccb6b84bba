"""A TOML table to a typed section, with errors for people.

A section is a msgspec Struct in which every key has a default, and whose `ALLOWED` says for each
key what it takes.
"""

import math
from collections.abc import Iterable
from typing import ClassVar, Protocol, TypeVar

import msgspec

from reachthru.guest_daemon.errors import SettingsError

SHOWN_LIMIT_CHARS = 80


class _Section(Protocol):
    ALLOWED: ClassVar[dict[str, str]]


SectionType = TypeVar("SectionType", bound=_Section)


def read_section(where: str, table: object, section: type[SectionType]) -> SectionType:
    """`where` is file and section, as the error shows them. Raises `SettingsError`."""
    if not isinstance(table, dict):
        raise SettingsError(f"{where}: it is a section with keys, not {show(table)}")
    for key, value in table.items():
        if key not in section.ALLOWED:
            raise SettingsError(
                f"{where} {key} = {show(value)}: no such key; {suggest(key, section.ALLOWED)}"
            )
        try:
            if isinstance(value, float) and not math.isfinite(value):
                raise msgspec.ValidationError
            msgspec.convert({key: value}, section)  # alone: a complaint is about this key
        except msgspec.ValidationError as error:
            raise SettingsError(
                f"{where} {key} = {show(value)}: allowed: {section.ALLOWED[key]}"
            ) from error
    return msgspec.convert(table, section)


def refuse_unknown(where: str, found: dict[str, object], sections: Iterable[str]) -> None:
    """Raises `SettingsError` for a key of the file that is no section."""
    for name, value in found.items():
        if name not in sections:
            shown = f"[{name}]" if isinstance(value, dict | list) else f"{name} = {show(value)}"
            raise SettingsError(f"{where}: {shown}: no such section; {suggest(name, sections)}")


def show(value: object) -> str:
    """A value, much as it was written."""
    if isinstance(value, bool):
        return str(value).lower()
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= SHOWN_LIMIT_CHARS else text[:SHOWN_LIMIT_CHARS] + "..."


def suggest(word: str, allowed: Iterable[str]) -> str:
    import difflib

    near = difflib.get_close_matches(word, allowed, n=1)
    return f"did you mean {near[0]}?" if near else f"allowed: {', '.join(allowed)}"
