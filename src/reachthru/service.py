"""What the daemons that run beside OpenStack share: an INI file read strictly, and its errors.

oslo.config ignores a key that it does not know; an operator who misspelt one would never hear
of it. `load` refuses it in one line that names file, section, key, value and what is allowed.
"""

import difflib
import logging
import re
import stat
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from oslo_config import cfg, iniparser, types

from reachthru.secret_files import (
    SecretFileError,
    has_password,
    read_secret,
    shown_url,
    with_password,
    without_secrets,
)

_PASSWORD_IN_URL = re.compile(r"://[^/\s]*:[^/\s]+@|[?&]\w*password=")
_SECRET_WORDS = ("password", "secret", "token")
_SECRET_NAME = re.compile(r"pass|pasw|pwd|secret|token|key|cred")
_log = logging.getLogger(__name__)


class SettingsError(Exception):
    """One line for the operator: file, key, value, and what is allowed. Exit with 2."""


class _Keys(iniparser.BaseParser):
    """Collects the (section, key, value) triples of an INI file, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.section = "DEFAULT"
        self.found: list[tuple[str, str, str]] = []

    def new_section(self, section: str) -> None:
        self.section = section

    def assignment(self, key: str, value: list[str]) -> None:
        self.found.append((self.section, key, "\n".join(value)))


def complain(command: str, error: object) -> None:
    """One line for the operator, on stderr."""
    line = without_secrets(" ".join(str(error).split()))
    print(f"{command}: {line}", file=sys.stderr)  # noqa: T201


def load(
    path: Path,
    options: Mapping[str, Sequence[cfg.Opt]],
    foreign_sections: Sequence[str] = (),
) -> cfg.ConfigOpts:
    """The settings in `path`, checked. Raises `SettingsError`.

    `options` are oslo.config options by section. The keys of `foreign_sections` belong to a
    library (keystoneauth, oslo.messaging) that checks them itself. No value is shown whose
    key, maybe misspelt, is a secret's.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SettingsError(f"{path}: can't read the settings: {reason}") from error
    conf = cfg.ConfigOpts()
    for section, section_options in options.items():
        conf.register_opts(list(section_options), group=None if section == "DEFAULT" else section)
    written = _refuse_unknown(path, text, options, foreign_sections)
    _warn_of_open_secrets(path, written, options)
    try:
        conf(args=[], default_config_files=[str(path)], default_config_dirs=[])
        for section, section_options in options.items():
            group = conf if section == "DEFAULT" else conf[section]
            for option in section_options:
                _read(path, section, option, group, written)
    except cfg.ConfigFileParseError as error:
        raise SettingsError(f"{path}: {' '.join(str(error).split())}") from error
    return conf


def listen_address(path: Path, section: str, listen: str) -> tuple[str, int]:
    """(address, port) of `listen`, which is ADDRESS:PORT. Raises `SettingsError`."""
    host, colon, port = listen.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise SettingsError(f"{path}: [{section}] listen = {listen}: must be ADDRESS:PORT")
    return host.strip("[]"), int(port)


def secret(path: Path, section: str, option: str, file: str) -> str:
    """The secret in `file`, which settings name as `option`. Raises `SettingsError`."""
    try:
        return read_secret(Path(file))
    except SecretFileError as error:
        raise SettingsError(f"{path}: [{section}] {option}: {error}") from error


def url_with_secret(path: Path, section: str, option: str, url: str, file: str) -> str:
    """`url` with the password that `file` holds; as it is, where no file is named.

    `option` is what settings call the file. Raises `SettingsError`.
    """
    if not file:
        return url
    if has_password(url):
        raise SettingsError(
            f"{path}: [{section}] {option}: the URL {shown_url(url)} has a password already"
        )
    return with_password(url, secret(path, section, option, file))


def _warn_of_open_secrets(
    path: Path,
    written: Mapping[tuple[str, str], str],
    options: Mapping[str, Sequence[cfg.Opt]],
) -> None:
    """Settings that hold secrets are the operator's and the daemon's alone."""
    secret_keys = {
        (section, option.dest)
        for section, section_options in options.items()
        for option in _with_secrets(section_options)
    }
    held = [
        f"[{section}] {key}"
        for (section, key), value in written.items()
        if value and ((section, key) in secret_keys or _PASSWORD_IN_URL.search(value))
    ]
    if held and path.stat().st_mode & (stat.S_IROTH | stat.S_IWOTH):
        _log.warning(
            "%s: holds secrets (%s), and is open to every user; chmod 640 it", path, ", ".join(held)
        )


def _with_secrets(options: Iterable[cfg.Opt]) -> Iterable[cfg.Opt]:
    return (option for option in options if option.secret and "url" not in option.dest)


def _read(
    path: Path,
    section: str,
    option: cfg.Opt,
    group: cfg.ConfigOpts,
    written: Mapping[tuple[str, str], str],
) -> None:
    try:
        group[option.dest]
    except (cfg.ConfigFileValueError, ValueError) as error:
        value = _shown(option.name, written.get((section, option.dest), option.default))
        raise SettingsError(
            f"{path}: [{section}] {option.name} = {value}: allowed: {_allowed(option)}"
        ) from error


def _shown(key: str, value: object) -> str:
    secret = _SECRET_NAME.search(key) or difflib.get_close_matches(key, _SECRET_WORDS)
    return "***" if secret else without_secrets(str(value))


def _allowed(option: cfg.Opt) -> str:
    """What an option takes, for people."""
    kind = option.type
    if isinstance(kind, types.Boolean):
        return "true or false"
    if isinstance(kind, types.Number):
        what = "a whole number" if isinstance(kind, types.Integer) else "a number"
        bounds = [
            f"{word} {bound:g}"
            for word, bound in (("from", kind.min), ("to", kind.max))
            if bound is not None
        ]
        return " ".join([what, *bounds])
    choices = getattr(kind, "choices", None)
    return ", ".join(choices) if choices else str(kind)


def _refuse_unknown(
    path: Path,
    text: str,
    options: Mapping[str, Sequence[cfg.Opt]],
    foreign_sections: Sequence[str],
) -> dict[tuple[str, str], str]:
    """What is written in the file, by section and option, once every name in it is known."""
    keys = _Keys()
    try:
        keys.parse(text.splitlines())
    except iniparser.ParseError as error:
        # Not `error` itself: it shows the line, which may be a secret.
        raise SettingsError(f"{path}: line {error.lineno}: {error.msg}") from None
    for section, key, value in keys.found:
        if section in foreign_sections:
            continue
        if section not in options:
            allowed = ", ".join(f"[{name}]" for name in options)
            raise SettingsError(
                f"{path}: [{section}] {key} = {_shown(key, value)}: no such section; {allowed}"
            )
        names = [option.name for option in options[section]]
        if key.replace("-", "_") not in {name.replace("-", "_") for name in names}:
            near = difflib.get_close_matches(key, names, n=1)
            hint = f"did you mean {near[0]}?" if near else f"allowed: {', '.join(names)}"
            raise SettingsError(
                f"{path}: [{section}] {key} = {_shown(key, value)}: no such key; {hint}"
            )
    return {(section, key.replace("-", "_")): value for section, key, value in keys.found}
