"""Real shells complete our commands, options, and names that a controller knows."""

import os
import subprocess

import pytest

from integration.operator.conftest import SCRIPTS
from lab.controllers import Agent

BASH = """
eval "$(reachthru completion bash)"
COMP_LINE="$1" COMP_POINT=${#1} COMP_TYPE=9 COMP_WORDBREAKS=$' \\t\\n"=:'
_python_argcomplete reachthru
printf '%s\\n' "${COMPREPLY[@]}"
"""
FISH = 'source (reachthru completion fish | psub); complete -C "$argv[1]"'
# Its completion needs a line editor, which only a terminal has: zsh's own pseudo-terminal.
ZSH = r"""
zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell "PS1='> '; autoload -U compinit; compinit -u -D"
zpty -w shell 'eval "$(reachthru completion zsh)"'
zpty -w shell 'echo re""ady'
zpty -r shell said '*ready*'
zpty -w -n shell "$1"$'\t\t'
zpty -r shell said "*$2*" && print -r -- "$said"
"""


def complete(shell, typed, expected, **environment):
    script = {"bash": BASH, "fish": FISH, "zsh": ZSH}[shell]
    words = [shell, "-c", script, *([] if shell == "fish" else ["-"]), typed]
    done = subprocess.run(
        [*words, *([expected] if shell == "zsh" else [])],
        env=os.environ | {"PATH": f"{SCRIPTS}:{os.environ['PATH']}", "TERM": "dumb"} | environment,
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert expected in done.stdout, done
    return done.stdout


@pytest.mark.parametrize("shell", ["bash", "fish", "zsh"])
def test_a_shell_completes_commands(shell):
    complete(shell, "reachthru maint", "maintenance")


@pytest.mark.parametrize("shell", ["bash", "fish"])
def test_a_shell_completes_options_of_commands_within_commands(shell):
    found = complete(shell, "reachthru maintenance start --", "--instance")
    assert "--for" in found
    assert "--active" not in found


async def test_a_shell_completes_what_the_controller_knows(controllers, broker, sqlite):
    import asyncio

    (controller,) = await controllers(sqlite)
    async with Agent(broker.url, "compute-17", []) as agent:
        while not (await controller.get("/v1/hosts"))["hosts"]:
            await agent.report()
        url = f"http://127.0.0.1:{controller.api_port}"
        await asyncio.to_thread(
            complete, "bash", "reachthru faults --host c", "compute-17", REACHTHRU_URL=url
        )


@pytest.mark.parametrize(
    ("typed", "there", "missing"),
    [
        ("reachthru-guest ", "broadcast", "--json"),
        ("reachthru-guest listen --", "--count", "broadcast"),
        ("reachthru-guest completion ", "fish", "--count"),
    ],
)
def test_shells_complete_the_guests_commands_without_asking_it(typed, there, missing):
    words = typed.split(" ")
    bash = (
        'eval "$(reachthru-guest completion bash)"; PATH=;'
        f" COMP_WORDS=({' '.join(word or chr(39) * 2 for word in words)});"
        f' COMP_CWORD={len(words) - 1}; _reachthru_guest; echo "${{COMPREPLY[@]}}"'
    )
    fish = f'source (reachthru-guest completion fish | psub); complete -C "{typed}"'
    for shell, script in (("bash", bash), ("fish", fish)):
        done = subprocess.run(
            [shell, "-c", script],
            env=os.environ | {"PATH": f"{SCRIPTS}:{os.environ['PATH']}"},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert there in done.stdout, done
        assert missing not in done.stdout, done


def test_zsh_takes_the_guests_completion():
    script = 'autoload -U compinit; compinit -u -D; eval "$(reachthru-guest completion zsh)"'
    done = subprocess.run(
        ["zsh", "-f", "-c", script + "; print $_comps[reachthru-guest]"],
        env=os.environ | {"PATH": f"{SCRIPTS}:{os.environ['PATH']}"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "_reachthru_guest" in done.stdout, done


def test_no_controller_is_no_harm_to_a_shell():
    complete("bash", "reachthru faults --h", "--host", REACHTHRU_URL="http://127.0.0.1:1")
