"""`reachthru-guest completion SHELL`: a script that asks nothing of ours when Tab is pressed."""

import argparse

SHELLS = ("bash", "zsh", "fish")
_BASH = """\
_reachthru_guest() {{
    local words="{commands}"
    if [ "$COMP_CWORD" -gt 1 ]; then
        case "${{COMP_WORDS[1]}}" in
{cases}
        esac
    fi
    COMPREPLY=($(compgen -W "$words" -- "${{COMP_WORDS[COMP_CWORD]}}"))
}}
complete -o default -F _reachthru_guest reachthru-guest"""
_ZSH = "autoload -U +X bashcompinit && bashcompinit\n"
_FISH = "complete -c reachthru-guest -f -n "


def script(shell: str, parser: argparse.ArgumentParser) -> str:
    words = _words(parser)
    if shell == "fish":
        names = " ".join(words)
        lines = [f"{_FISH}'not __fish_seen_subcommand_from {names}' -a '{names}'"]
        for command, options in words.items():
            seen = f"__fish_seen_subcommand_from {command}"
            lines += [f"{_FISH}'{seen}' -a '{' '.join(options)}'"]
        return "\n".join(lines)
    cases = (f'            {name}) words="{" ".join(more)}" ;;' for name, more in words.items())
    text = _BASH.format(commands=" ".join(words), cases="\n".join(cases))
    return _ZSH + text if shell == "zsh" else text


def _words(parser: argparse.ArgumentParser) -> dict[str, list[str]]:
    """Each command's long options, and what else it takes of a few."""
    (commands,) = (one for one in parser._actions if one.dest == "command")
    found = {}
    for name, command in dict(commands.choices or {}).items():
        options = [text for text in command._option_string_actions if text.startswith("--")]
        choices = [word for action in command._actions for word in action.choices or ()]
        found[name] = [*choices, *options]
    return found
