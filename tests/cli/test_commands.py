"""The command line as a whole: help, errors, exit codes and completion."""

import subprocess
import sys

import pytest

from attnorm import __version__, cli
from attnorm.cli import main
from attnorm.cli.commands import application

COMMANDS = [name for name in application if not name.startswith("-")]


def test_the_version_and_help(output):
    assert output("--version").out == f"{__version__}\n"
    for arguments in ([], ["--help"], ["-h"]):
        out = output(*arguments).out
        assert all(f" {name} " in out for name in COMMANDS)


@pytest.mark.parametrize("name", [*COMMANDS, "data prepare", "data inspect", "bench layer"])
def test_every_command_explains_itself_and_its_options(name, output):
    out = output(*name.split(), "--help").out
    assert out.startswith(f"Usage: attnorm {name}")
    arguments = application[name.split()[0]]
    for word in name.split()[1:]:
        arguments = arguments[word]
    if arguments.default_command is not None:
        for argument in arguments.assemble_argument_collection(parse_docstring=True):
            assert argument.parameter.help or argument.name in ("*", "NAME", "MODELS", "RUN"), argument.name


def test_help_and_completion_need_neither_torch_nor_numpy_and_idle_threads_will_not_spin():
    program = (
        "import os, sys, attnorm.cli\n"
        "for line in ('--help', 'train --help', '__complete generate an-gan-cifar10 --labels h', "
        "'__complete evaluate run --metrics f', '__complete train a'):\n"
        "    assert attnorm.cli.main(line.split()) == 0\n"
        "assert not {'torch', 'numpy', 'huggingface_hub'} & sys.modules.keys()\n"
        "assert os.environ['GOMP_SPINCOUNT'] == '10000'"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("words", "candidate"),
    [
        (["generate", ""], "an-gan-digits"),
        (["generate", "an-gan-cifar10", "--labels", "horse", ""], "ship"),
        (["train", ""], "inpaint-an-64-cpu"),
        (["train", "an-gan-digits", "--data", "d"], "digits"),
        (["evaluate", "run", "--metrics", "fd", ""], "kid"),
    ],
    ids=" ".join,
)
def test_names_are_completed(words, candidate, output):
    assert candidate in [line.split("\t")[0] for line in output("__complete", *words).out.splitlines()]


def test_a_run_and_its_classes_are_completed(finished_run, output):
    assert f"{finished_run}/" in output("__complete", "visualize", str(finished_run)[:-1]).out.splitlines()
    assert "7" in output("__complete", "visualize", str(finished_run), "--labels", "").out.splitlines()


def test_a_completion_script_knows_commands_and_options(output, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    output("--install-completion", "--shell", "bash", "--output", tmp_path / "script")
    assert all(word in (tmp_path / "script").read_text() for word in ("contact-sheet", "prepare", "animation"))
    assert list(tmp_path.iterdir()) == [tmp_path / "script"]  # no start-up file was changed


@pytest.mark.parametrize(("package", "arguments", "extra"), [("gradio", ["app"], "app"), ("cyclopts", [], "train")])
def test_a_missing_package_is_named_with_the_command_that_installs_it(package, arguments, extra, refused, monkeypatch):
    monkeypatch.delitem(sys.modules, "attnorm.cli.commands")
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    assert refused(*arguments) == f"the package '{package}' is missing: pip install '.[{extra}]'"


def raising(error):
    def run(arguments):
        raise error

    return run


def test_ctrl_c_is_one_line_and_130(monkeypatch, capsys):
    monkeypatch.setattr(cli, "_run", raising(KeyboardInterrupt()))
    assert main([]) == 130
    assert capsys.readouterr().err == "attnorm: interrupted\n"


@pytest.mark.promise
def test_an_unexpected_error_is_one_line_and_debug_shows_where(monkeypatch, capsys):
    monkeypatch.setattr(cli, "_run", raising(ZeroDivisionError("two\nlines")))
    assert main(["presets"]) == 1
    said = "attnorm: unexpected error: ZeroDivisionError: two\\nlines; --debug shows where\n"
    assert capsys.readouterr().err == said
    with pytest.raises(ZeroDivisionError):
        main(["presets", "--debug"])


def test_a_reader_that_has_seen_enough_is_no_error():
    command = f"{sys.executable} -m attnorm presets | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.splitlines()[1] == "0"
