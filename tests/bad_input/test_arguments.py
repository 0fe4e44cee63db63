"""The command line itself, and the arguments of every command that only looks at what is there."""

import pytest

CASES = [
    # the command
    ("trian", 'unknown command "trian", did you mean "train"? (see attnorm --help)'),
    ("--verbose", 'unknown command "--verbose" (see attnorm --help)'),
    ("generate", "MODEL is required (see attnorm generate --help)"),
    ("generate run -o out.png --coun 3", "unknown option: --coun"),  # abbreviations are not guessed
    ("generate run -o", "-o needs a value"),
    ("generate '' -o out.png", 'invalid value "" for MODEL: it is empty'),
    # evaluate
    ("evaluate unfinished", "first checkpoint"),
    ("evaluate run --num 1000000000000", "must be at most", "got 1000000000000"),
    ("evaluate run --out file/record.json --num 4", "file/record.json"),
    # visualize, interpolate
    ("visualize run --regions regions.doc", "must end in a format such as .png, .svg or .pdf"),
    ("visualize run -o file/out.png", "cannot write file/out.png"),
    ("visualize run -o out.png --count 99999999999", "99999999999", "at most 1048576"),
    ("interpolate run --labels 3 7 -o out.png --frames 99999999999", "got 399999999996", "at most 1048576"),
    # reproduce
    ("reproduce table9 --out tables", 'invalid value "table9" for TABLE: choose from'),
    ("reproduce table3 --out tables --extractor inception", "needs no feature network", "leave --extractor out"),
    ("reproduce table1 --out tables --val-data digits", "leave them out of table1"),
    ("reproduce table1 --out tables --scale paper", "needs --data"),
    ("reproduce table1 --out tables --steps 0", "--steps: must be >= 1"),
    ("reproduce table1 --out tables --seeds -1", "--seeds: must be >= 0"),
    ("reproduce table1 --out tables --data nowhere", "there is nothing at nowhere"),
    ("reproduce table1 --out tables --launcher no-such-program", "no-such-program", "--launcher"),
    ("reproduce table1 --out file", "cannot write file"),
    # bench
    ("bench layer --rounds -3", "rounds"),
    ("bench layer --dtype float16", 'invalid value "float16" for --dtype: choose from'),
    ("bench layer --device cuda", "--device cpu"),
    # package, push, export
    ("package nowhere out", "nowhere"),
    ("package run empty", "empty"),
    ("export run -o out.bin", "out.bin", "must end in"),
    ("export run -o photo.png", "photo.png exists already", "--force"),
    # app
    ("app ''", "MODELS", "empty"),
    ("app run --port 0", "--port must be from 1 to 65535, got 0"),
]


def _name(case):
    command = case[0] if isinstance(case[0], str) else " ".join(case[0])
    return command[:80]


@pytest.mark.parametrize("case", CASES, ids=_name)
def test_a_mistake_is_one_line_and_touches_nothing(case, refused):
    refused(*case)


ENVIRONMENTS = [
    ({"WORLD_SIZE": "many"}, "WORLD_SIZE is 'many'"),
    ({"WORLD_SIZE": ""}, "WORLD_SIZE is ''"),
    ({"LOCAL_RANK": "x", "WORLD_SIZE": "2", "RANK": "1", "MASTER_PORT": "1"}, "LOCAL_RANK is 'x'"),
    ({"LOCAL_RANK": "0"}, "WORLD_SIZE is not set"),
    ({"WORLD_SIZE": "2"}, "RANK is not set"),
    ({"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1"}, "MASTER_PORT is not set"),
    (
        {"WORLD_SIZE": "2", "RANK": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"},
        "RANK is '2', and must be a number from 0 to 1",
    ),
    (
        {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "a"},
        "MASTER_PORT is 'a'",
    ),
]


@pytest.mark.parametrize("case", ENVIRONMENTS, ids=str)
def test_an_environment_that_is_not_torchruns_is_named(case, refused, monkeypatch):
    """As of a shell where somebody set one of its variables."""
    variables, part = case
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    for line in ("train an-gan-digits --data digits --out new", "resume run", "evaluate run --num 4"):
        refused(line, part, "start several with torchrun, or unset WORLD_SIZE, RANK, LOCAL_RANK")
