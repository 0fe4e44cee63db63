"""Where models are found, what they are for, and loading them."""

import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import load_file, save_file

from attnorm import files
from attnorm.data.sources import open_source
from attnorm.errors import UserError
from attnorm.metrics.features import load_extractor
from attnorm.models import pretrained
from attnorm.models.class_conditional import Discriminator, DiscriminatorConfig, Generator, GeneratorConfig
from attnorm.models.inpainting import InpaintingGenerator, InpaintingGeneratorConfig
from attnorm.models.pretrained import find_model, saved_config, step_of, task_of

SMALL = GeneratorConfig(num_classes=2, channels=(4, 4, 4, 4), latent_dim=8)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Saved models `me/inpaint` and `me/generate` in one folder, as they would be on the Hub."""
    folder = tmp_path_factory.mktemp("hub")
    torch.manual_seed(0)
    InpaintingGenerator(InpaintingGeneratorConfig(image_size=32, width=4)).save_pretrained(folder / "me" / "inpaint")
    Generator(SMALL).save_pretrained(folder / "me" / "generate")
    (folder / "me" / "else").mkdir()
    return folder


@pytest.fixture
def hub(models, monkeypatch):
    """The Hub, which has these repositories and no others; a list of what was asked of it."""
    asked = []

    def download(name, *, allow_patterns, local_files_only):
        asked.append(name)
        assert not local_files_only and not any("bin" in pattern or "pt" in pattern for pattern in allow_patterns)
        if not (models / name).is_dir():
            raise LocalEntryNotFoundError("cannot find the files\nand more")
        return str(models / name)

    monkeypatch.setattr(pretrained, "snapshot_download", download)
    monkeypatch.setattr(pretrained, "network_problem", lambda _: None)
    return asked


def test_the_task_of_runs_folders_shipped_names_and_the_hub(models, hub, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "model").symlink_to(models / "me" / "inpaint")
    for source in (run, run / "model", models / "me" / "inpaint", "me/inpaint"):
        assert task_of(source) == "inpainting", source
    for source in ("an-gan-digits", models / "me" / "generate", "me/generate"):
        assert task_of(source) == "class-conditional", source
    Discriminator(DiscriminatorConfig(channels=(4, 4, 4, 4))).save_pretrained(tmp_path / "d")
    assert task_of(tmp_path / "d") is None


def test_a_network_loads_from_everywhere(models, hub, tmp_path, monkeypatch):
    state = Generator.from_pretrained(models / "me" / "generate").state_dict()
    from_hub = Generator.from_pretrained("me/generate")
    torch.testing.assert_close(from_hub.state_dict(), state, rtol=0, atol=0)
    assert from_hub.config == SMALL and not from_hub.training and step_of(models / "me" / "generate") is None
    assert Generator.from_pretrained("an-gan-digits").config.class_names == tuple("0123456789")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "an-gan-digits").mkdir()  # a local path is preferred to a shipped name
    with pytest.raises(UserError, match=r"neither a run nor a saved model \(no config\.json"):
        Generator.from_pretrained("an-gan-digits")


@pytest.mark.parametrize(
    "prefixes", [("module.", ""), ("_orig_mod.module.", ""), ("", "_orig_mod."), ("module.", "module.")]
)
def test_weights_of_a_wrapped_network_load(prefixes, models, tmp_path):
    folder = shutil.copytree(models / "me" / "inpaint", tmp_path / "model")
    state = load_file(folder / "model.safetensors")
    outer, inner = prefixes  # the second one is in the middle, where a part of the network was wrapped
    named = {f"{outer}{name.replace('.encoder.', f'.encoder.{inner}')}": value for name, value in state.items()}
    assert named.keys() != state.keys()
    save_file(named, folder / "model.safetensors")
    loaded = InpaintingGenerator.from_pretrained(folder).state_dict()
    assert all(torch.equal(value, loaded[name]) for name, value in state.items())


@pytest.mark.parametrize("answer", [OSError("no route to host"), None, "offline"], ids=["refused", "silent", "offline"])
def test_without_a_network_downloads_say_so_at_once_and_what_is_there_loads(answer, monkeypatch, models, tmp_path):
    def head(url, timeout):
        if answer is not None:
            raise answer
        time.sleep(20)  # as a name server that does not answer

    monkeypatch.setattr("huggingface_hub.get_session", lambda: SimpleNamespace(head=head))
    monkeypatch.setattr(pretrained.constants, "HF_HUB_OFFLINE", answer == "offline")
    monkeypatch.setenv("ATTNORM_CACHE", str(tmp_path))
    assert files.PATIENCE < 3  # seconds
    monkeypatch.setattr(files, "PATIENCE", 0.5)
    for place, load, problem in (
        ("user/model", Generator.from_pretrained, "no run or model at user/model, and the Hub did not provide it: "),
        ("hf:user/set", open_source, "hf:user/set cannot be loaded: "),
        ("inception", load_extractor, r"inception-2015-12-05.pt could not be downloaded \("),
    ):
        start = time.monotonic()
        with pytest.raises(UserError, match=f"{problem}no network"):
            load(place)
        assert time.monotonic() - start < 2
    monkeypatch.setattr(pretrained, "snapshot_download", lambda *_, local_files_only, **__: models / "me" / "generate")
    assert Generator.from_pretrained("user/model").config == SMALL  # downloaded earlier


@pytest.mark.parametrize("content", ["{", "[]", ""])
def test_a_damaged_configuration_is_refused(content, tmp_path):
    (tmp_path / "config.json").write_text(content)
    for read in (saved_config, task_of, Generator.from_pretrained):
        with pytest.raises(UserError, match=r"config\.json is damaged, save or download the model again"):
            read(tmp_path)


def test_what_is_not_found_is_refused_with_the_nearest_name(hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "digits").mkdir(parents=True)
    with pytest.raises(UserError, match="no run or model at an-gan-digitz, did you mean 'an-gan-digits'"):
        find_model("an-gan-digitz")
    with pytest.raises(UserError, match="no run or model at runs/digit, did you mean 'runs/digits'"):
        find_model("runs/digit")
    assert hub == []  # a misspelt path is not asked for on the Hub
    with pytest.raises(UserError, match=r"at me/nothing, and the Hub did not provide it: cannot find the files$"):
        find_model("me/nothing")
    with pytest.raises(UserError, match="me/else on the Hub is not a model of attnorm"):
        find_model("me/else")
    (tmp_path / "runs" / "digits" / "config.yaml").write_text("")
    with pytest.raises(UserError, match="has saved no model yet: it is written with the first checkpoint"):
        find_model(Path("runs/digits"))
