"""Pushing to the hub, against a client that only writes down what it is asked."""

import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import ModelCard
from huggingface_hub.errors import HfHubHTTPError

from attnorm.cli import main
from attnorm.publishing import hub
from attnorm.shipped import shipped_model

httpx = sys.modules[HfHubHTTPError.__bases__[0].__module__.partition(".")[0]]  # whichever one the client is built on
FILES = {"README.md", "config.json", "layouts.png", "model.safetensors", "samples.png"}


@pytest.fixture
def asked(monkeypatch):
    """What a client was asked, call by call; `fails` and `private` say how it answers."""
    calls = SimpleNamespace(created=[], uploaded={}, fails=None, private=False)

    class Client:
        def create_repo(self, repository, *, private, exist_ok):
            calls.created.append((repository, private, exist_ok))
            if calls.fails is not None:
                raise calls.fails
            return f"https://huggingface.co/{repository}"

        def repo_info(self, repository):
            return SimpleNamespace(private=calls.private)

        def create_commit(self, repository, operations, *, commit_message):
            contents = {each.path_in_repo: each.path_or_fileobj for each in operations}
            calls.uploaded[repository] = {
                name: content if isinstance(content, bytes) else Path(content).read_bytes()
                for name, content in contents.items()
            }

    monkeypatch.setattr(hub, "HfApi", Client)
    monkeypatch.setattr(hub, "get_token", lambda: "hf_token")
    return calls


def pushed(capsys, *arguments):
    capsys.readouterr()
    code = main(["push", *map(str, arguments)])
    out, err = capsys.readouterr()
    assert "Traceback" not in err and err.count("\n") == (code == 2)
    return code, out, err


def test_a_run_is_packaged_under_its_name_on_the_hub(finished_run, asked, capsys):
    code, out, _ = pushed(capsys, finished_run, "me/digits", "--limits", "Only small.")
    assert code == 0
    assert out.endswith("https://huggingface.co/me/digits\n")
    assert asked.created == [("me/digits", None, True)]
    files = asked.uploaded["me/digits"]
    assert set(files) == FILES | {"training.json"}
    card = ModelCard(files["README.md"].decode())
    assert 'from_pretrained("me/digits")' in card.text and "- Only small." in card.text
    assert files["model.safetensors"] == (finished_run / "model" / "model.safetensors").read_bytes()


def test_a_shipped_model_goes_with_its_card_under_the_new_name(asked, capsys):
    assert pushed(capsys, "an-gan-digits", "me/digits")[0] == 0
    files, shipped = asked.uploaded["me/digits"], shipped_model("an-gan-digits")
    assert set(files) == FILES
    assert files["model.safetensors"] == (shipped / "model.safetensors").read_bytes()
    card, before = ModelCard(files["README.md"].decode()), ModelCard.load(shipped / "README.md")
    assert card.text.lstrip().startswith("# me/digits\n")
    assert "attnorm generate me/digits " in card.text and 'from_pretrained("me/digits")' in card.text
    assert card.data.model_name == "me/digits"
    assert card.data.eval_results == before.data.eval_results
    assert len(card.text.splitlines()) == len(before.text.splitlines())


@pytest.fixture
def packaged(tmp_path):
    """The folder of a shipped model, as another one's would be that was packaged."""
    return shutil.copytree(shipped_model("an-gan-digits"), tmp_path / "mödel")


def test_what_a_dry_run_lists_is_what_goes(packaged, asked, capsys):
    (packaged / "sub" / "deep").mkdir(parents=True)
    (packaged / "sub" / "deep" / "notes.txt").write_text("four")
    (packaged / ".git").mkdir()
    (packaged / ".git" / "config").write_text("mine")
    code, out, _ = pushed(capsys, packaged, "me/digits", "--dry-run")
    listed = {line.split()[-1]: line.split()[0] for line in out.splitlines()[:-1]}
    assert code == 0 and pushed(capsys, packaged, "me/digits")[0] == 0
    assert set(listed) == set(asked.uploaded["me/digits"]) == FILES | {"sub/deep/notes.txt"}
    for name, content in asked.uploaded["me/digits"].items():
        assert listed[name] == f"{len(content) / 1e6:.3f}"


@pytest.mark.parametrize("card", [b"---\nlicense: [\n---\n", b"---\nlicense: caf\xe9\n---\n"], ids=["yaml", "latin-1"])
def test_a_card_that_cannot_be_read_is_a_sentence(card, packaged, asked, capsys):
    (packaged / "README.md").write_bytes(card)
    code, _, err = pushed(capsys, packaged, "me/digits", "--dry-run")
    assert code == 2 and "README.md is not readable" in err
    assert not asked.created


def test_a_dry_run_lists_the_files_and_asks_nobody(finished_run, asked, capsys):
    code, out, _ = pushed(capsys, finished_run, "me/digits", "--dry-run")
    assert code == 0
    assert {line.split()[-1] for line in out.splitlines()[:-1]} == FILES | {"training.json"}
    assert "nothing was sent" in out
    assert not asked.created and not asked.uploaded


def test_a_private_repository_is_asked_for_and_a_public_one_left_alone(asked, capsys):
    asked.private = True
    assert pushed(capsys, "an-gan-digits", "me/digits", "--private")[0] == 0
    assert asked.created == [("me/digits", True, True)]
    asked.private = False
    asked.uploaded.clear()
    code, _, err = pushed(capsys, "an-gan-digits", "me/digits", "--private")
    assert code == 2 and "is public already" in err
    assert not asked.uploaded


@pytest.mark.parametrize("name", ["digits", "me/digits/more", "me/di gits", "me/-digits", "../digits", ""])
def test_a_bad_name_is_refused_before_anything_is_made(name, asked, capsys):
    code, _, err = pushed(capsys, "nowhere", name)
    assert code == 2
    assert f"{name!r} is no name for the hub: give ORGANISATION/NAME" in err


def test_without_a_token_it_says_how_to_get_one(asked, capsys, monkeypatch):
    monkeypatch.setattr(hub, "get_token", lambda: None)
    code, _, err = pushed(capsys, "an-gan-digits", "me/digits")
    assert code == 2 and "hf auth login" in err and "HF_TOKEN" in err
    assert not asked.created


def refused_by_the_hub():
    response = httpx.Response(403, request=httpx.Request("POST", "https://huggingface.co/api/repos/create"))
    return HfHubHTTPError("403 Forbidden: you may not write here.\n\nMore lines", response=response)


@pytest.mark.parametrize(
    ("failure", "part"),
    [
        (OSError("Network is unreachable"), "Network is unreachable"),
        (httpx.ConnectError("[Errno -2] Name or service not known"), "Name or service not known"),
        (refused_by_the_hub(), "you may not write here (HTTP 403)"),
    ],
    ids=["no network", "no such host", "refused"],
)
def test_what_the_hub_says_is_one_sentence(failure, part, asked, capsys):
    asked.fails = failure
    code, _, err = pushed(capsys, "an-gan-digits", "me/digits")
    assert code == 2 and "the hub did not take me/digits: " in err and part in err


def test_what_is_no_model_or_has_no_card_is_refused(finished_run, asked, capsys, tmp_path):
    assert "no run, packaged folder or shipped model at nowhere" in pushed(capsys, "nowhere", "me/digits")[2]
    assert "does not say what the model is" in pushed(capsys, finished_run / "model", "me/digits")[2]
    assert "edit its README.md" in pushed(capsys, "an-gan-digits", "me/digits", "--limits", "More.")[2]
    assert not asked.created


def lose_the_weights(folder):
    (folder / "model.safetensors").unlink()


def cut_the_weights(folder):
    with (folder / "model.safetensors").open("r+b") as file:
        file.truncate(file.seek(0, 2) - 100)


def take_weights_of_another(folder):
    shutil.copyfile(shipped_model("an-inpaint-facades") / "model.safetensors", folder / "model.safetensors")


def spoil_the_step(folder):
    (folder / "training.json").write_text("x")


def spoil_the_configuration(folder):
    (folder / "config.json").write_text("[]")


@pytest.mark.parametrize(
    ("damage", "part"),
    [
        (lose_the_weights, "model.safetensors is missing or damaged"),
        (cut_the_weights, "model.safetensors is missing or damaged"),
        (take_weights_of_another, "does not hold the weights that its config.json describes"),
        (spoil_the_step, "training.json does not say which step the model is of"),
        (spoil_the_configuration, "config.json is damaged"),
    ],
)
@pytest.mark.parametrize("more", [(), ("--dry-run",)], ids=["push", "dry run"])
def test_what_others_could_not_load_is_not_sent(damage, part, more, packaged, asked, capsys):
    damage(packaged)
    code, _, err = pushed(capsys, packaged, "me/digits", *more)
    assert code == 2 and part in err
    assert not asked.created


def test_a_folder_of_a_shipped_models_name_is_looked_at_itself(packaged, asked, capsys, monkeypatch):
    monkeypatch.chdir(packaged.parent)
    packaged.rename("an-gan-digits")
    lose_the_weights(Path("an-gan-digits"))
    assert pushed(capsys, "./an-gan-digits", "me/digits")[0] == 2
    assert not asked.created


def test_an_inpainters_folder_is_loaded_as_one(asked, capsys, tmp_path):
    folder = shutil.copytree(shipped_model("an-inpaint-facades"), tmp_path / "holes")
    assert pushed(capsys, folder, "me/holes")[0] == 0
    assert asked.uploaded["me/holes"]["config.json"] == (folder / "config.json").read_bytes()


@pytest.mark.parametrize("where", ["elsewhere.txt", "../elsewhere.txt", "none.txt", "sub", "notes.txt", ".."])
def test_a_link_that_leaves_the_folder_is_refused(where, packaged, asked, capsys):
    (packaged.parent / "elsewhere.txt").write_text("for myself alone")
    (packaged / "sub").mkdir()
    target = packaged.parent / where if where == "elsewhere.txt" else where
    (packaged / "notes.txt").symlink_to(target)
    code, _, err = pushed(capsys, packaged, "me/digits", "--dry-run")
    assert code == 2 and f"{packaged / 'notes.txt'} is a link, and not to a file in {packaged}: put a copy" in err


def test_links_inside_the_folder_and_hidden_ones_are_no_matter(packaged, asked, capsys):
    (packaged / "sub").mkdir()
    (packaged / "sub" / "again.json").symlink_to("../config.json")
    (packaged / ".cache").symlink_to("..")
    assert pushed(capsys, packaged, "me/digits")[0] == 0
    files = asked.uploaded["me/digits"]
    assert set(files) == FILES | {"sub/again.json"} and files["sub/again.json"] == files["config.json"]


def test_a_snapshot_of_the_hubs_cache_is_links_to_its_blobs(packaged, asked, capsys, tmp_path):
    cached = tmp_path / "models--me--digits"
    snapshot = cached / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (cached / "blobs").mkdir()
    for number, file in enumerate(sorted(packaged.iterdir())):
        file.rename(cached / "blobs" / str(number))
        (snapshot / file.name).symlink_to(f"../../blobs/{number}")
    assert pushed(capsys, snapshot, "me/again")[0] == 0
    assert set(asked.uploaded["me/again"]) == FILES
    (cached / "refs").write_text("abc")
    (snapshot / "notes.txt").symlink_to("../../refs")
    assert "notes.txt is a link" in pushed(capsys, snapshot, "me/again")[2]
