"""config.yaml of a run: damaged, strange, hostile, or changed since the run began."""

import shutil

import pytest
import yaml

from attnorm.cli import main

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{after}: &{after} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, after in zip("abcdefgh", "bcdefghi", strict=True)
)

CONTENTS = {
    "empty": (b"", "task must be one of"),
    "no mapping": (b"- 1\n- 2\n", "task must be one of"),
    "a number": (b"5", "task must be one of"),
    "a tab": (b"task:\n\tclass-conditional\n", "is not a readable YAML file", "restore it"),
    "binary": (bytes(range(256)), "is not a readable YAML file"),
    "zero bytes": (b"\0" * 100, "is not a readable YAML file"),
    "utf-16": ("task: class-conditional\n".encode("utf-16"), "is not a readable YAML file"),
    "bomb": (BOMB.encode(), "is not a readable YAML file", "anchors and aliases are not read"),
    "itself": (b"task: &a [*a]\n", "anchors and aliases are not read"),
    "deep": (b"[" * 5000, "is not a readable YAML file"),
    "python": (b"!!python/object/apply:os.system ['touch owned']\n", "is not a readable YAML file"),
    "no date": (b"task: class-conditional\nsteps: 2026-99-99\n", "is not a readable YAML file"),
    "long number": (b"task: class-conditional\nsteps: " + b"9" * 5000, "is not a readable YAML file"),
    "twice": (b"task: class-conditional\nsteps: 5\nsteps: 6\n", "'steps' occurs twice"),
    "large": (b"#" * (17 << 20), "no configuration", "more than 16 MB"),
    "unknown task": (b"task: super-resolution\n", "task must be one of ['class-conditional', 'inpainting']"),
    "unknown field": (b"task: class-conditional\nstep: 5\n", "unknown field 'step'", "did you mean 'steps'?"),
    "unknown field within": (b"task: inpainting\nmasks: {sort: strokes}\n", "unknown field 'sort'"),
    "number as name": (b"task: class-conditional\n5: 6\n", "names must be text, got 5"),
    "wrong type": (b"task: class-conditional\nsteps: [1]\n", "steps must be a whole number"),
    "wrong nested type": (b"task: class-conditional\ngenerator: [1]\n", "generator must be"),
    "null": (b"task: class-conditional\nbetas: null\n", "betas must be 2 values"),
    "out of range": (b"task: class-conditional\nbatch_size: 0\n", "batch_size must be at least 1"),
    "absurd": (b"task: class-conditional\ngenerator: {num_classes: 1000000000000}\n", "num_classes must be from 1"),
    "not a number": (b"task: inpainting\ngenerator_lr: .nan\n", "generator_lr must be between 0 and 1, got nan"),
}


@pytest.fixture
def strange(tmp_path):
    """A run's folder that has only a config.yaml with this content."""

    def make(content):
        run = tmp_path / "strange"
        run.mkdir()
        (run / "config.yaml").write_bytes(content)
        return run

    return make


@pytest.mark.parametrize("name", CONTENTS)
def test_a_strange_configuration_is_refused_by_resume(name, strange, refused):
    content, *parts = CONTENTS[name]
    refused(["resume", strange(content)], "config.yaml", *parts)


@pytest.mark.parametrize("command", ["evaluate", "visualize"])
def test_commands_that_read_the_model_miss_it_first(command, strange, refused):
    options = [] if command == "evaluate" else ["-o", "out.png"]
    refused([command, strange(CONTENTS["unknown field"][0]), *options], "has saved no model yet")


def test_a_configuration_that_is_a_folder_is_no_run(tmp_path, refused):
    (tmp_path / "strange" / "config.yaml").mkdir(parents=True)
    refused(["resume", tmp_path / "strange"], "is no run")


def test_a_byte_order_mark_is_none_of_the_users_business(world, tmp_path, here, capsys):
    run = shutil.copytree(world / "run", tmp_path / "run")
    (run / "config.yaml").write_bytes(b"\xef\xbb\xbf" + (run / "config.yaml").read_bytes())
    assert main(["resume", str(run)]) == 0


CHANGES = {
    "other widths": ({"generator.channels": [16, 8, 8, 8]}, "does not fit", "undo its changes"),
    "another layer": ({"discriminator.long_range.kind": "none"}, "does not fit", "undo its changes"),
    "other classes": (
        {"generator.class_names": list("abcdefghij")},
        "classes of digits are no longer",
        "restore the data",
    ),
    "fewer steps": ({"steps": 3}, "is at step 6 already"),
    "lost data": ({"data": "nowhere"}, "there is nothing at nowhere", "give"),
    "impossible data": ({"data": "a\0b"}, "there is nothing at a\\x00b"),
    "a long name": ({"data": "a" * 5000}, "there is nothing at aaa"),
    "no data": ({"data": ""}, "no data was named"),
    "other data": ({"data": "prepared"}, "prepared at 16×16", "attnorm data prepare"),
    "no gpu": ({"device": "cuda"}, "device 'cuda' was asked for", "use --device cpu"),
    "absurd": ({"batch_size": 10**12}, "would take at least", "batch_size smaller"),
    "another task": ({"task": "inpainting"}, "unknown field"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_resume_with_a_changed_configuration_is_refused(name, world, tmp_path, refused):
    changes, *parts = CHANGES[name]
    run = shutil.copytree(world / "run", tmp_path / "run")
    config = yaml.safe_load((run / "config.yaml").read_text())
    for path, value in changes.items():
        *parents, leaf = path.split(".")
        target = config
        for parent in parents:
            target = target[parent]
        target[leaf] = value
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    refused(["resume", run, *(["--steps", "8"] if "steps" not in changes else [])], *parts)
