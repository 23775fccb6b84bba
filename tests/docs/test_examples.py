"""Every example in the documentation is taken by what it is for: settings by the daemons' own
loaders, commands by the programs' own parsers, JSON by a JSON parser, programs by their compiler.
"""

import contextlib
import io
import json
import re
import shlex
import sys
from pathlib import Path

import pytest
import yaml

from reachthru import service
from reachthru.controller_server import settings as controller
from reachthru.controller_server.nova.settings import options as nova_options
from reachthru.guest_daemon import settings as guest
from reachthru.host_agent import settings as host

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "tools"))
from docs_reference.commands import parsers  # noqa: E402

PAGES = [
    *sorted(ROOT.glob("*.md")),
    *(page for page in sorted((ROOT / "docs").rglob("*.md")) if "reference" not in page.parts),
]
OPTIONS = {
    "host": host.OPTIONS,
    "controller": {**controller.OPTIONS, "nova": nova_options()},
}
_BLOCK = re.compile(r"^( *)```(\w+)\n(.*?)^\1```$", re.M | re.S)


def blocks(*kinds):
    for page in PAGES:
        for number, block in enumerate(_BLOCK.finditer(page.read_text()), 1):
            if block[2] in kinds:
                text = re.sub(f"^{block[1]}", "", block[3], flags=re.M)
                yield pytest.param(text, id=f"{page.relative_to(ROOT)}-{number}")


def ini_options(text):
    """The daemon whose file the first line names; else the one that has its sections."""
    named = re.match(r"# /etc/reachthru/(\w+)\.conf", text)
    if named:
        return [OPTIONS[named[1]]]
    return list(OPTIONS.values())


@pytest.mark.parametrize("text", [*blocks("ini")])
def test_settings_of_agents_and_controllers_are_loaded(text, tmp_path):
    """Those of other services: no comment stands behind a value, it would be part of it."""
    if re.match(r"# /etc/(?!reachthru/)|\[(Unit|Service)\]", text):
        assert not re.search(r"^[^#\n]+[ \t]#", text, re.M)
        return
    path = tmp_path / "settings.conf"
    path.write_text(text)
    path.chmod(0o600)
    refusals = []
    for options in ini_options(text):
        try:
            service.load(path, options)
            return
        except service.SettingsError as error:
            refusals.append(str(error))
    pytest.fail("\n".join(refusals))


@pytest.mark.parametrize("text", [*blocks("toml")])
def test_settings_of_guests_are_loaded(text, tmp_path):
    path = tmp_path / "guest.toml"
    path.write_text(text)
    guest.load(str(path))


@pytest.mark.parametrize("text", [*blocks("json")])
def test_json_is_json(text):
    json.loads(text)


@pytest.mark.parametrize("text", [*blocks("yaml")])
def test_yaml_is_yaml(text):
    assert yaml.safe_load(text)


@pytest.mark.parametrize("text", [*blocks("python")])
def test_programs_compile(text):
    compile(text, "example", "exec")


def commands():
    """(words of one of our commands, where it is) in every block of commands."""
    for block in blocks("console", "sh", "bash", "text"):
        for line in block.values[0].splitlines():
            for part in re.split(r"[|;&]|\bdo\b|\$\(", line):
                match = re.match(r"\s*(?:\$|\d\$|vm-\d#)?\s*(reachthru(?:-\w+)?(?:\s.*)?)$", part)
                if match and "..." not in part:
                    yield pytest.param(match[1], id=f"{block.id}-{match[1]}")


@pytest.mark.parametrize("command", [*commands()])
def test_commands_are_taken_by_their_programs(command):
    words = shlex.split(re.sub(r"\d?>+\s*\S+", "", command), comments=True)
    known = parsers()
    if "--version" in words or words == ["reachthru"]:
        return
    # The longest name of a command that the words begin with.
    name = max((n for n in known if words[: len(n.split())] == n.split()), key=len)
    parser = known[name]
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.suppress(SystemExit):
        parser.parse_args(words[len(name.split()) :])
    assert said.getvalue() == ""
