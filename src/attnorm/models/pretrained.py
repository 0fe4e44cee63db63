"""Saving and loading networks as config.json and model.safetensors, in a folder, a run, the package or on the Hub."""

import json
from collections.abc import Mapping
from pathlib import Path
from textwrap import shorten
from typing import Any, ClassVar, Literal

from huggingface_hub import PyTorchModelHubMixin, constants, snapshot_download
from huggingface_hub.errors import HfHubHTTPError
from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from typing_extensions import Self

from attnorm.config import Frozen, nearest, parse, read_json
from attnorm.errors import UserError
from attnorm.files import network_problem
from attnorm.shipped import CARD_FILE, CONFIG_FILE, TRAINING_FILE, shipped_models

Task = Literal["class-conditional", "inpainting"]
PAPER = "https://arxiv.org/abs/2004.03828"
WEIGHTS_FILE = "model.safetensors"
MODEL_FILES = (CONFIG_FILE, WEIGHTS_FILE, TRAINING_FILE)
# Errors of the Hub's client: those of its HTTP library, OSError, and ValueError for an invalid name.
HUB_ERRORS: tuple[type[BaseException], ...] = (*HfHubHTTPError.__bases__, OSError, ValueError)
# Parts of weight names added by DataParallel, DDP, torch.compile, FSDP and activation checkpointing.
WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}


class TrainingRecord(Frozen):
    """training.json: the training step at which the weights were saved."""

    step: int = Field(ge=0)


class PretrainedNetwork(
    nn.Module, PyTorchModelHubMixin, library_name="attnorm", paper_url=PAPER, tags=["attentive-normalization"]
):
    """A network built from one configuration, which is saved and loaded with its weights.

    `save_pretrained` and `push_to_hub` come from the mixin. Its loading is not used: it falls back to pickles and
    accepts missing weights.
    """

    config_class: ClassVar[type[BaseModel]]
    config: Any

    def _save_pretrained(self, save_directory: Path) -> None:
        super()._save_pretrained(save_directory)
        text = json.dumps(self.config.model_dump(mode="json"), indent=2, sort_keys=True)
        (save_directory / CONFIG_FILE).write_text(text, encoding="utf-8")

    @classmethod
    def from_pretrained(cls, source: str | Path) -> Self:  # type: ignore[override]
        """Loads a network in eval mode on the CPU; a UserError names what is missing or damaged."""
        folder = find_model(source)
        network = cls(parse(cls.config_class, saved_config(folder), str(folder / CONFIG_FILE)))
        path = folder / WEIGHTS_FILE
        try:
            network.load_state_dict(unwrapped(load_file(path)))
        except (OSError, SafetensorError) as error:
            raise UserError(f"{path} is missing or damaged, save or download the model again: {error}") from error
        except RuntimeError as error:  # names or shapes of weights
            reason = shorten(" ".join(str(error).splitlines()[1:]), 200, placeholder=" …")
            what = f"{path} does not have the weights that its {CONFIG_FILE} describes"
            raise UserError(f"{what}, save or download both again: {reason}") from error
        return network.eval()


def unwrapped(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dictionary without prefixes of wrappers, as in `module.stem.weight`."""
    return {".".join(part for part in name.split(".") if part not in WRAPPERS): value for name, value in state.items()}


def find_model(source: str | Path) -> Path:
    """The folder of a run's or a saved model, a shipped one by its name, or ORGANISATION/NAME; UserError if none."""
    path = Path(source)
    for folder in (path / "model", path):
        if (folder / CONFIG_FILE).is_file():
            return folder
    if (path / "config.yaml").is_file():
        raise UserError(f"the run {path} has saved no model yet: it is written with the first checkpoint")
    if path.exists():
        raise UserError(f"{path} is neither a run nor a saved model (no {CONFIG_FILE}): give the folder of one")
    return shipped_models().get(str(source)) or _download(str(source))


def is_image_set(source: str | Path) -> bool:
    """Whether there is something that is neither a run nor a saved model, such as a folder of images."""
    marks = (CONFIG_FILE, f"model/{CONFIG_FILE}", "config.yaml")
    return Path(source).exists() and not any(Path(source, mark).is_file() for mark in marks)


def saved_config(folder: Path) -> dict[str, Any]:
    """The configuration of the model in a folder, not validated. Raises UserError if it cannot be read."""
    path = folder / CONFIG_FILE
    try:
        return TypeAdapter(dict[str, Any]).validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise UserError(f"{path} is damaged, save or download the model again") from error


def task_of(source: str | Path) -> Task | None:
    """What a model is for; None for other networks, such as a discriminator. Raises UserError as `find_model`."""
    config = saved_config(find_model(source))
    return "inpainting" if "branch" in config else "class-conditional" if "latent_dim" in config else None


def write_step(folder: Path, step: int) -> None:
    """Writes the training step to a folder with saved weights."""
    (folder / TRAINING_FILE).write_text(TrainingRecord(step=step).model_dump_json() + "\n", encoding="utf-8")


def step_of(folder: Path) -> int | None:
    """The training step of the weights in a folder, or None if it is not recorded."""
    path = folder / TRAINING_FILE
    return read_json(TrainingRecord, path).step if path.is_file() else None


def name_of(source: str | Path) -> str:
    """The name of a model: that of its run or folder, or its name on the Hub without the organisation."""
    path = Path(source).resolve()
    return path.parent.name if path.name == "model" else path.name


def _download(name: str) -> Path:
    path = Path(name)
    local = path.parent.is_dir()  # more likely a misspelt path than an organisation
    if name.count("/") != 1 or local:
        known = [*shipped_models(), *(folder.as_posix() for folder in path.parent.glob("*/"))]
        raise UserError(f"there is no run or model at {name}{nearest(name, known)} (`attnorm models` lists models)")
    offline = network_problem(constants.ENDPOINT)  # if so, only an earlier download can be used
    try:
        folder = Path(snapshot_download(name, allow_patterns=[*MODEL_FILES, CARD_FILE], local_files_only=bool(offline)))
    except HUB_ERRORS as error:
        reason = offline or next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise UserError(f"there is no run or model at {name}, and the Hub did not provide it: {reason}") from error
    if not (folder / CONFIG_FILE).is_file():
        raise UserError(f"{name} on the Hub is not a model of attnorm: {CONFIG_FILE} is missing")
    return folder
