"""What a saved model is for and what its card says, wherever it lies."""

import errno
import logging
import re
from pathlib import Path

import huggingface_hub
import pytest
import torch
from huggingface_hub import ModelCard, hub_mixin
from huggingface_hub.errors import LocalEntryNotFoundError

from attnorm.errors import UserError
from attnorm.exporting.program import program_of
from attnorm.models import pretrained
from attnorm.models.class_conditional import Generator, GeneratorConfig
from attnorm.models.inpainting import (
    InpaintingCritic,
    InpaintingCriticConfig,
    InpaintingGenerator,
    InpaintingGeneratorConfig,
)
from attnorm.models.saved import find_model, licence_of, saved_config, step_of, task_of, write_step


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Saved models `me/holes` and `me/drawn` in one folder, as they would lie on the hub."""
    folder = tmp_path_factory.mktemp("hub")
    torch.manual_seed(0)
    InpaintingGenerator(InpaintingGeneratorConfig(image_size=32, width=4)).save_pretrained(folder / "me" / "holes")
    small = GeneratorConfig(num_classes=2, channels=(4, 4, 4, 4), latent_dim=8)
    Generator(small).save_pretrained(folder / "me" / "drawn")
    for name, licence in (("holes", "cc0-1.0"), ("drawn", None)):
        head = f"license: {licence}\n" if licence else "library_name: attnorm\n"
        (folder / "me" / name / "README.md").write_text(f"---\n{head}---\n\n# {name}\n")
    return folder


@pytest.fixture
def hub(models, monkeypatch):
    """The hub, which has these models and no others."""

    def download(repo_id, filename, **options):
        file = models / repo_id / filename
        if not file.is_file():
            raise LocalEntryNotFoundError(f"{file} is not there")
        return str(file)

    for module in (huggingface_hub, hub_mixin, pretrained):
        monkeypatch.setattr(module, "hf_hub_download", download)


def test_the_task_of_runs_folders_shipped_names_and_the_hub(models, hub, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "model").symlink_to(models / "me" / "holes")
    for source in (run, run / "model", models / "me" / "holes", "me/holes"):
        assert task_of(source) == "inpainting", source
    for source in ("an-gan-digits", models / "me" / "drawn", "me/drawn"):
        assert task_of(source) == "class-conditional", source
    with pytest.raises(UserError, match="the hub did not give one either"):
        task_of("me/nothing")


def test_the_note_beside_saved_weights_is_true_and_says_how_they_are_loaded(tmp_path):
    torch.manual_seed(0)
    small = GeneratorConfig(num_classes=2, channels=(4, 4, 4, 4), latent_dim=8)
    critic = InpaintingCriticConfig(image_size=32, local_size=16, width=4)
    inpainter = InpaintingGenerator(InpaintingGeneratorConfig(image_size=32, width=4))
    for network in (Generator(small), inpainter, InpaintingCritic(critic)):
        folder = tmp_path / type(network).__name__
        network.save_pretrained(folder)
        card = ModelCard.load(folder / "README.md")
        assert "More Information Needed" not in card.text and "PyTorchModelHubMixin" not in card.text
        assert card.data.library_name == "attnorm"
        assert ("attnorm package" in card.text) == isinstance(network, Generator | InpaintingGenerator)
        code = card.text.split("```python")[1].split("```")[0].replace("FOLDER", folder.as_posix())
        found = {}
        exec(code, found)
        assert type(found["network"]) is type(network)
        for name, weights in network.state_dict().items():
            assert torch.equal(found["network"].state_dict()[name], weights)


@pytest.mark.parametrize("content", ["{", "[]", "{}", "[" * 100_000])
def test_what_is_damaged_or_something_else_has_no_task(content, tmp_path):
    (tmp_path / "config.json").write_text(content)
    assert task_of(tmp_path) is None


def test_models_of_the_hub_are_exported_by_what_they_are_for(hub):
    holes, drawn = program_of("me/holes"), program_of("me/drawn")
    assert (holes.about["task"], holes.about["licence"]) == ("inpainting", "cc0-1.0")
    assert (drawn.about["task"], drawn.about["licence"]) == ("class-conditional", "not stated")


def test_a_card_is_read_where_there_is_one_and_refused_where_it_is_torn(hub, tmp_path):
    assert licence_of(find_model("an-gan-digits")) == "mit"
    assert licence_of("me/holes") == "cc0-1.0"
    assert licence_of(tmp_path) == "not stated"
    for head in ("license: [", "- a list", "license: {a: b}"):
        (tmp_path / "README.md").write_text(f"---\n{head}\n---\n")
        with pytest.raises(UserError, match=r"the head of the card .* is not readable"):
            licence_of(tmp_path)


def test_a_network_that_is_saved_states_no_licence_of_its_weights(models, tmp_path):
    Generator.from_pretrained(models / "me" / "drawn").save_pretrained(tmp_path / "saved")
    assert "license" not in Path(tmp_path / "saved" / "README.md").read_text().lower()
    assert licence_of(tmp_path / "saved") == "not stated"


def test_a_missing_run_in_a_folder_that_is_here_is_refused_without_the_hub(hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_model("me/drawn") == "me/drawn"
    (tmp_path / "me" / "digits").mkdir(parents=True)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *asked: pytest.fail("the hub was asked"))
    with pytest.raises(
        UserError, match=r"no run or model at me/digit, did you mean 'me/digits'.* the hub is not asked"
    ):
        find_model("me/digit")
    with pytest.raises(UserError, match=r"no run or model at me/drawn.*there is a folder me here"):
        find_model("me/drawn")


def test_the_hubs_client_says_nothing_of_its_attempts(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    client, said = logging.getLogger("huggingface_hub.utils._http"), []

    class Listening(logging.Handler):
        def emit(self, record):
            said.append(record.getMessage())

    def download(*asked):
        client.warning("Retrying in 1s [Retry 1/5].")
        raise LocalEntryNotFoundError("no network")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    listener = Listening()
    client.addHandler(listener)
    try:
        with pytest.raises(UserError, match="the hub did not give one either"):
            find_model("me/nothing")
        assert said == []
        client.warning("of somebody else")
        assert said == ["of somebody else"]
    finally:
        client.removeHandler(listener)


def test_the_step_of_a_model_is_read_wherever_it_lies(models, hub, monkeypatch):
    assert step_of("me/holes") is None and step_of(models / "me" / "holes") is None  # of an earlier version
    write_step(models / "me" / "drawn", 1200)
    assert step_of("me/drawn") == step_of(models / "me" / "drawn") == 1200
    assert Generator.from_pretrained(models / "me" / "drawn").config.latent_dim == 8


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "null", "{}", '{"step": "9"}', '{"step": true}', '{"step": -1}', "[" * 10**5),
        *('{"step": 1' + "0" * digits + "}" for digits in (13, 300, 400, 5000)),
    ],
    ids=lambda text: text[:12],
)
def test_a_damaged_step_is_a_sentence(tmp_path, text):
    (tmp_path / "training.json").write_text(text)
    with pytest.raises(UserError, match=r"training\.json does not say which step the model is of: save or download"):
        step_of(tmp_path)


@pytest.mark.parametrize("read", [step_of, saved_config, Generator.from_pretrained])
def test_what_may_not_be_read_is_not_called_damaged(read, tmp_path, monkeypatch):
    def forbidden(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    name = "training.json" if read is step_of else "config.json"
    (tmp_path / name).write_text("{}")
    monkeypatch.setattr(Path, "read_bytes", forbidden)  # the permissions themselves do not bind root
    with pytest.raises(UserError, match=rf"^cannot read {re.escape(str(tmp_path / name))} \(Permission denied\)$"):
        read(tmp_path)
