"""docs/tutorial.md: each of its files is written, each of its commands is typed, in their order,
and what the page shows is seen. Programs, QEMU and the VMs are the real ones.
"""

import os
import re
import sys
import tempfile
from pathlib import Path

import pytest

from docs.terminal import Terminal
from servers.ports import free_port

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e")]

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/tutorial.md"
PROMPT = re.compile(r"(\$|\d\$|vm-\d#) (.*)")
TIMEOUT_S = 120  # of one command, on a busy machine
_BLOCK = re.compile(
    r"(?:^<!-- file: (?P<file>\S+) -->\n)?^```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.M | re.S
)


def steps_of(page):
    """("file", name, text) and ("command", prompt, lines, shown lines), in their order."""
    found = []
    for block in _BLOCK.finditer(page):
        if block["file"]:
            found.append(("file", block["file"], block["text"]))
            continue
        assert block["kind"] == "console", f"neither a file nor commands: {block[0]}"
        for line in block["text"].splitlines():
            if typed := PROMPT.fullmatch(line):
                found.append(("command", typed[1], [typed[2]], []))
            elif line.startswith("> "):
                found[-1][2].append(line[2:])
            else:
                found[-1][3].append(line)
    return found


def pattern_of(shown):
    """`...` is anything; columns may be as wide as they like; a prompt may stand in front."""
    parts = [r"\s+".join(map(re.escape, part.split())) for part in shown.split("...")]
    return r"(?:/ # )*\s*" + r"\s*.*\s*".join(parts) + r"\s*"


def missing_from(output, shown_lines):
    """The first line that the page shows and the output has not, behind the ones before."""
    lines = iter(output.splitlines())
    for shown in shown_lines:
        if shown.strip() == "...":
            continue
        if not any(re.fullmatch(pattern_of(shown), line) for line in lines):
            return shown
    return None


class Desk:
    """Three terminals, and which of them a prompt stands for."""

    def __init__(self, folder, environment):
        self._folder = folder
        self._environment = environment
        self._terminals = {}

    def terminal(self, prompt):
        number = {"$": 1, "vm-1#": 2, "vm-2#": 3}.get(prompt) or int(prompt[0])
        if number not in self._terminals:
            self._terminals[number] = Terminal(self._folder, self._environment)
        return self._terminals[number]

    def play(self, prompt, lines, shown):
        terminal = self.terminal(prompt)
        if "sysrq-trigger" in lines[0]:  # nothing is heard of that VM any more
            terminal.type(lines)
            return
        if "boot-vm" in lines[0]:
            terminal.type([f"cd reachthru-tutorial && {lines[0]}"])
            terminal.read_until("Please press Enter to activate this console.", TIMEOUT_S)
            terminal.type([""])
            return
        if lines[0].startswith("kill %"):
            self.end_machines()
        if "--image" in lines[0]:  # what was downloaded before need not be again
            (self._folder / "reachthru-tutorial/build").symlink_to(ROOT / "build")
        output, exit_code = terminal.run(lines, TIMEOUT_S)
        assert exit_code == 0, f"{prompt} {lines[0]}: exit code {exit_code}:\n{output}"
        missing = missing_from(output, shown)
        assert missing is None, f"{prompt} {lines[0]}: no {missing!r} in:\n{output}"

    def end_machines(self):
        """With Ctrl-C, as the page says; the shell is back then."""
        for prompt in ("2$", "3$"):
            self.terminal(prompt).interrupt(TIMEOUT_S)

    def close(self):
        for terminal in self._terminals.values():
            terminal.close()

    def logs(self):
        texts = [terminal.seen for terminal in self._terminals.values()]
        texts += [path.read_text() for path in self._folder.glob("*/*.log")]
        return "\n----\n".join(text[-3000:] for text in texts)


def test_whoever_follows_the_tutorial_sees_what_it_shows(capsys):
    ports = {"1883": str(free_port()), "8780": str(free_port())}

    def with_free_ports(text):
        for usual, free in ports.items():
            text = text.replace(usual, free)
        return text

    environment = {
        **os.environ,
        "PATH": f"{Path(sys.prefix) / 'bin'}:{os.environ['PATH']}",
        "REACHTHRU_URL": f"http://127.0.0.1:{ports['8780']}",
    }
    (ROOT / "build").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="reachthru-") as name:  # short: sockets are in it
        folder = Path(name)
        desk = Desk(folder, environment)
        try:
            for step in steps_of(PAGE.read_text()):
                if step[0] == "file":
                    (folder / "reachthru-tutorial" / step[1]).write_text(with_free_ports(step[2]))
                else:
                    _, prompt, lines, shown = step
                    desk.play(prompt, [with_free_ports(line) for line in lines], shown)
        except BaseException:
            with capsys.disabled():
                print(desk.logs())
            raise
        finally:
            desk.close()


def test_a_line_that_is_shown_and_not_seen_is_found():
    assert missing_from("a  b\nx 1 y\n", ["a b", "x ... y"]) is None
    assert missing_from("a  b\nx 1 y\n", ["x ... y", "a b"]) == "a b"
