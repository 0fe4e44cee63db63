"""Pushing to the Hub, against a client that only records what it is asked."""

import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import ModelCard
from huggingface_hub.errors import HfHubHTTPError

from attnorm.cli import main
from attnorm.hub import package as hub
from attnorm.shipped import shipped_models

http = sys.modules[HfHubHTTPError.__bases__[0].__module__.partition(".")[0]]  # the client's HTTP library
RESPONSE = http.Response(403, request=http.Request("POST", "https://huggingface.co/api/repos/create"))


@pytest.fixture
def api(monkeypatch):
    """A client that records what it is asked; `fails` and `private` say how it answers."""

    class Api:
        created, uploaded, fails, private = None, None, None, False

        def create_repo(self, repository, *, private, exist_ok):
            assert exist_ok
            self.created = (repository, private)
            if self.fails is not None:
                raise self.fails
            return f"https://huggingface.co/{repository}"

        def repo_info(self, repository):
            return SimpleNamespace(private=self.private)

        def upload_folder(self, *, repo_id, folder_path, allow_patterns):
            assert repo_id == self.created[0]
            files = [path for path in Path(folder_path).iterdir() if path.name in allow_patterns]
            self.uploaded = {path.name: path.read_bytes() for path in files}

    api = Api()
    monkeypatch.setattr(hub, "HfApi", lambda: api)
    monkeypatch.setattr(hub, "get_token", lambda: "hf_token")
    monkeypatch.setattr(hub, "network_problem", lambda _: None)
    return api


@pytest.fixture
def packaged(tmp_path):
    """A packaged folder: a copy of a shipped model's."""
    return shutil.copytree(shipped_models()["an-gan-digits"], tmp_path / "mödel")


def pushed(capsys, *arguments):
    capsys.readouterr()
    code = main(["push", *map(str, arguments)])
    out, err = capsys.readouterr()
    assert "Traceback" not in err and err.count("\n") == (code == 2)
    return code, out, err


def test_a_run_is_packaged_under_its_name_on_the_hub(finished_run, api, capsys):
    code, out, _ = pushed(capsys, finished_run, "me/digits", "--licence", "cc0-1.0")
    assert (code, out) == (0, "https://huggingface.co/me/digits\n")
    assert api.created == ("me/digits", None)
    card = ModelCard(api.uploaded["README.md"].decode())
    assert 'from_pretrained("me/digits")' in card.text and card.data.license == "cc0-1.0"
    assert api.uploaded["model.safetensors"] == (finished_run / "model" / "model.safetensors").read_bytes()


def test_a_packaged_folder_goes_as_it_is_and_a_public_repository_is_refused_as_private(packaged, api, capsys):
    (packaged / "notes.txt").write_text("private")
    api.private = True
    assert pushed(capsys, packaged, "me/digits", "--private")[0] == 0
    assert api.created == ("me/digits", True)
    assert set(api.uploaded) == {path.name for path in packaged.iterdir()} - {"notes.txt"}
    assert all((packaged / name).read_bytes() == content for name, content in api.uploaded.items())
    api.private, api.uploaded = False, None
    assert "is public already" in pushed(capsys, packaged, "me/digits", "--private")[2]
    assert not api.uploaded


def test_without_a_network_or_a_token_it_says_so(packaged, api, capsys, monkeypatch):
    monkeypatch.setattr(hub, "network_problem", lambda _: "no network: it is silent")
    assert pushed(capsys, packaged, "me/digits")[2].endswith("cannot push to me/digits: no network: it is silent\n")
    monkeypatch.setattr(hub, "get_token", lambda: None)
    err = pushed(capsys, packaged, "me/digits")[2]
    assert "hf auth login" in err and "HF_TOKEN" in err
    assert not api.created


def test_an_error_of_the_hub_is_one_sentence(packaged, api, capsys):
    for failure in (OSError("not here"), ValueError("not here"), HfHubHTTPError("403: not here\n", response=RESPONSE)):
        api.fails = failure
        err = pushed(capsys, packaged, "me/digits")[2]
        assert "cannot push to me/digits: " in err and "not here" in err


def test_what_others_could_not_use_is_refused(finished_run, packaged, api, capsys, tmp_path):
    assert "is not a run and has no model card" in pushed(capsys, tmp_path / "none", "me/digits")[2]
    assert "is not a run and has no model card" in pushed(capsys, finished_run / "model", "me/digits")[2]
    assert "edit its README.md" in pushed(capsys, packaged, "me/digits", "--licence", "cc0-1.0")[2]
    weights = packaged / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert "model.safetensors is missing or damaged" in pushed(capsys, packaged, "me/digits")[2]
    assert not api.created
