"""Completion scripts of three shells, from one description of the command line."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Option:
    """names: --long and -s. takes_value: whether a value follows. values: those that are known; others may be given."""

    names: tuple[str, ...]
    about: str
    takes_value: bool = True
    values: tuple[str, ...] = ()


@dataclass(frozen=True)
class Words:
    """What may follow a command: its options, and other words, beside which files may be given."""

    about: str
    options: list[Option]
    following: list[str]


Grammar = dict[str, Words]  # by "COMMAND", or "COMMAND COMMAND"

BASH = """\
# Completion of attnorm for bash.
_attnorm() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} command=${{COMP_WORDS[1]}} words files= IFS=$'\\n'
    if [ "$COMP_CWORD" -eq 1 ]; then
        words={commands}
    else
        if [ "$COMP_CWORD" -gt 2 ]; then
            case "$command ${{COMP_WORDS[2]}}" in
                {pairs}) command="$command ${{COMP_WORDS[2]}}" ;;
            esac
        fi
        case "$command:${{COMP_WORDS[COMP_CWORD - 1]}}" in
{values}
            *)
                files=1
                case "$command" in
{following}
                    *) words= ;;
                esac
                ;;
        esac
    fi
    COMPREPLY=($(compgen -W "$words" -- "$current"))
    if [ -n "$files" ] && [ "${{current:0:1}}" != - ]; then
        COMPREPLY+=($(compgen -f -- "$current"))
    fi
}}
complete -o filenames -F _attnorm attnorm
"""

ZSH = """\
#compdef attnorm
# Completion of attnorm for zsh.
_attnorm() {{
    local command=$words[2]
    if (( CURRENT == 2 )); then
        compadd -- {commands}
        return
    fi
    if (( CURRENT > 3 )); then
        case "$command $words[3]" in
            {pairs}) command="$command $words[3]" ;;
        esac
    fi
    case "$command:$words[CURRENT-1]" in
{values}
        *)
            case "$command" in
{following}
            esac
            ;;
    esac
    [[ $words[CURRENT] == -* ]] || _files
}}
if [[ $funcstack[1] == _attnorm ]]; then
    _attnorm "$@"
else
    compdef _attnorm attnorm
fi
"""


# Not fish's own __fish_seen_subcommand_from: it finds a name anywhere on the line, such as `train` in `bench train`.
FISH = """\
# Completion of attnorm for fish.
function __attnorm_at # whether the line begins with this command, or with this command of a command
    set -l words (commandline -opc)
    set -l last (math 1 + (count $argv))
    set -l first $words[2..$last]
    test "$first" = "$argv"
end
function __attnorm_next # whether nothing but this command was given
    set -l words (commandline -opc)
    set -l given $words[2..-1]
    test "$given" = "$argv"
end
"""


def bash(grammar: Grammar) -> str:
    return BASH.format(
        commands=_ansi_quoted(_top(grammar)),
        pairs=_pairs(grammar),
        values="\n".join(
            f"            {keys}) words={_ansi_quoted(values)} files=1 ;;" for keys, values in _by_values(grammar)
        ),
        following="\n".join(
            f"                    {shlex.quote(command)}) words={_ansi_quoted(_every_word(words))} ;;"
            for command, words in grammar.items()
        ),
    )


def zsh(grammar: Grammar) -> str:
    return ZSH.format(
        commands=shlex.join(_top(grammar)),
        pairs=_pairs(grammar),
        values="\n".join(f"        {keys}) compadd -- {shlex.join(values)} ;;" for keys, values in _by_values(grammar)),
        following="\n".join(
            f"                {shlex.quote(command)}) compadd -- {shlex.join(_every_word(words))} ;;"
            for command, words in grammar.items()
        ),
    )


def fish(grammar: Grammar) -> str:
    lines = [FISH.rstrip("\n")]
    for command, words in grammar.items():
        *parents, name = command.split()
        condition = " ".join(["__attnorm_next", *parents])
        lines.append(f"complete -c attnorm -n {_fish(condition)} -f -a {_fish(name)} -d {_fish(words.about)}")
        here = _fish(f"__attnorm_at {command}")
        others = [word for word in words.following if f"{command} {word}" not in grammar]
        if others:
            lines.append(f"complete -c attnorm -n {here} -a {_fish(' '.join(others))}")
        for option in words.options:
            names = " ".join(f"-{'l' if name.startswith('--') else 's'} {name.lstrip('-')}" for name in option.names)
            values = f" -r -a {_fish(' '.join(option.values))}" if option.values else " -r" * option.takes_value
            about = option.about.replace("%%", "%")  # as argparse prints it
            lines.append(f"complete -c attnorm -n {here} {names}{values} -d {_fish(about)}")
    return "\n".join(lines) + "\n"


SHELLS = {"bash": bash, "zsh": zsh, "fish": fish}


def _top(grammar: Grammar) -> list[str]:
    return [command for command in grammar if " " not in command]


def _pairs(grammar: Grammar) -> str:
    return " | ".join(shlex.quote(command) for command in grammar if " " in command)


def _by_values(grammar: Grammar) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Patterns of "COMMAND:--option" with the values that may follow: none known leaves files alone."""
    for command, words in grammar.items():
        patterns: dict[tuple[str, ...], list[str]] = {}
        for option in words.options:
            if option.takes_value:
                patterns.setdefault(option.values, []).extend(f"{command}:{name}" for name in option.names)
        for values, keys in patterns.items():
            yield " | ".join(map(shlex.quote, keys)), values


def _every_word(words: Words) -> list[str]:
    return [*words.following, *(name for option in words.options for name in option.names)]


def _ansi_quoted(words: Iterable[str]) -> str:
    """Words in lines of one bash string: `compgen -W` splits at IFS, a newline there."""
    return "$'" + "\\n".join(word.replace("\\", "\\\\").replace("'", "\\'") for word in words) + "'"


def _fish(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
