"""`attnorm completion`: the scripts, asked in the shells themselves where these are installed."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from attnorm.cli import COMMANDS, main
from attnorm.cli.completion import grammar
from attnorm.cli.shells import SHELLS


@pytest.fixture(scope="module")
def found():
    return grammar()


@pytest.fixture(scope="module")
def scripts(found, tmp_path_factory):
    folder = tmp_path_factory.mktemp("completion")
    for name, write in SHELLS.items():
        (folder / f"attnorm.{name}").write_text(write(found))
    return folder


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs of mine").mkdir()
    (tmp_path / "photo.png").write_text("")


def shell(name, *arguments):
    program = shutil.which(name)
    if program is None:
        pytest.skip(f"{name} is not installed")
    environment = {**os.environ, "HOME": str(Path.cwd())}  # nobody's own settings
    run = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, env=environment, timeout=60)
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    return run.stdout.splitlines()


def in_bash(scripts, *words):
    """What bash offers after `attnorm WORDS`, the last of which is being typed."""
    code = (
        'source "$1"; shift; COMP_WORDS=(attnorm "$@"); COMP_CWORD=$#; _attnorm; '
        'for word in "${COMPREPLY[@]}"; do echo "$word"; done'
    )
    return shell("bash", "--norc", "-c", code, "bash", scripts / "attnorm.bash", *words)


def in_fish(scripts, *words):
    line = " ".join(["attnorm", *words])
    code = f'source {scripts / "attnorm.fish"}; complete -C "{line}"'
    return [offer.partition("\t")[0] for offer in shell("fish", "--no-config", "-c", code)]


def in_zsh(scripts, *words):
    """What the script hands to zsh, which then looks at what is typed."""
    code = (
        'compdef() { }; compadd() { shift; print -l -- "$@" }; _files() { print -l -- * }; '
        'source "$1"; shift; words=(attnorm "$@"); CURRENT=$#words; _attnorm'
    )
    return shell("zsh", "-f", "-c", code, "zsh", scripts / "attnorm.zsh", *words)


CASES = [
    (["gen"], {"generate"}, set()),
    ([""], set(COMMANDS), {"photo.png"}),
    (["train", "an-gan-dig"], {"an-gan-digits"}, {"an-gan-cifar10"}),
    (["generate", "an-gan-d"], {"an-gan-digits"}, set()),
    (["generate", "ph"], {"photo.png"}, set()),
    (["generate", "an-gan-digits", "--se"], {"--seed"}, {"--scale"}),
    (["train", "--generator.ch"], {"--generator.channels"}, set()),
    (["train", "--data", "dig"], {"digits"}, set()),
    (["generate", "x", "--device", ""], {"cpu", "cuda"}, {"--seed"}),
    (["data", "ins"], {"inspect"}, set()),
    (["data", "inspect", "--js"], {"--json"}, set()),
    (["data", "prepare", "--si"], {"--size"}, {"--json"}),
    (["bench", "layer", "--"], {"--sizes"}, {"--data", "--out", "--steps"}),
    (["train", "--data", "data", "--"], {"--steps", "--out"}, {"--image-column"}),
    (["models", "an-gan-di"], {"an-gan-digits"}, set()),
]


IDS = [" ".join(words) for words, _, _ in CASES]


@pytest.mark.parametrize(("words", "offered", "not_offered"), CASES, ids=IDS)
def test_bash_offers_what_fits(scripts, files, words, offered, not_offered):
    found = set(in_bash(scripts, *words))
    assert offered <= found
    assert not not_offered & found
    assert all(offer.startswith(words[-1]) for offer in found)


@pytest.mark.parametrize(("words", "offered", "not_offered"), CASES, ids=IDS)
def test_fish_offers_what_fits(scripts, files, words, offered, not_offered):
    found = set(in_fish(scripts, *words))
    assert offered <= found
    assert not not_offered & found


def test_names_with_spaces_stay_one_word_in_bash(scripts, files):
    assert "runs of mine" in in_bash(scripts, "resume", "runs")


@pytest.mark.parametrize(("words", "offered", "not_offered"), CASES, ids=IDS)
def test_zsh_offers_what_fits(scripts, files, words, offered, not_offered):
    found = {offer for offer in in_zsh(scripts, *words) if offer.startswith(words[-1])}
    assert offered <= found
    assert not not_offered & found


def test_every_command_is_known_with_its_options(found):
    assert {name.split()[0] for name in found} == set(COMMANDS)
    assert {"data prepare", "data inspect", "bench layer"} <= set(found)
    names = {name for option in found["train"].options for name in option.names}
    assert {"--data", "--out", "--steps", "--generator.long_range.num_entities", "--masks.kind"} <= names


def test_the_help_has_a_line_for_each_shells_recipe(capsys):
    with pytest.raises(SystemExit):
        main(["completion", "--help"])
    lines = capsys.readouterr().out.splitlines()
    for shell in SHELLS:
        assert sum(line.startswith(f"{shell}:") for line in lines) == 1


def test_the_command_prints_a_script(found, capsys):
    assert main(["completion", "bash"]) == 0
    assert capsys.readouterr().out == SHELLS["bash"](found)
    assert main(["completion", "tcsh"]) == 2
    assert "invalid choice: 'tcsh'" in capsys.readouterr().err
