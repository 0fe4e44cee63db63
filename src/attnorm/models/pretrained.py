"""Saving and loading a network with its configuration: config.json and model.safetensors, in a folder or on the hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

from huggingface_hub import PyTorchModelHubMixin, hf_hub_download
from huggingface_hub.constants import CONFIG_NAME, SAFETENSORS_SINGLE_FILE
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from typing_extensions import Self

from attnorm.config import from_dict
from attnorm.errors import UserError
from attnorm.shipped import shipped_model


class PretrainedNetwork(
    nn.Module,
    PyTorchModelHubMixin,
    library_name="attnorm",
    license="mit",
    paper_url="https://arxiv.org/abs/2004.03828",
    tags=["attentive-normalization"],
):
    """A network built from one configuration dataclass; `save_pretrained` and `from_pretrained` keep the two together.

    Stricter than the mixin's own loading: weights come from safetensors only, never from a pickle; every weight must be
    there and fit; and an unknown or absurd field of the configuration is refused before memory is taken.
    """

    config_class: ClassVar[type]

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **options: Any) -> Self:
        """Loads a saved network from a folder, a shipped one by its name, or one of the hub by ORGANISATION/NAME.

        Raises:
            UserError: its configuration or its weights are damaged.
        """
        source = shipped_model(pretrained_model_name_or_path) or pretrained_model_name_or_path
        _check_config(Path(source) / CONFIG_NAME)
        return super().from_pretrained(str(source), **options)

    @classmethod
    def _from_pretrained(
        cls, *, model_id: str, config: dict[str, Any] | None = None, map_location: str = "cpu", **hub: Any
    ) -> Self:
        if config is None:
            raise UserError(f"{model_id} has no config.json: it is no folder or repository of a saved model")
        network = cls(from_dict(cls.config_class, config, f"{model_id}/config.json"))
        path = Path(model_id) / SAFETENSORS_SINGLE_FILE
        if not Path(model_id).is_dir():
            path = Path(hf_hub_download(repo_id=model_id, filename=SAFETENSORS_SINGLE_FILE, **hub))
        try:
            network.load_state_dict(load_file(path))
        except (OSError, SafetensorError) as error:
            raise UserError(f"{path} is missing or damaged, save or download the model again: {error}") from error
        except RuntimeError as error:
            raise UserError(f"{path} does not hold the weights that its config.json describes") from error
        return network.to(map_location).eval()


def _check_config(path: Path) -> None:
    """The mixin reads the file without a look at what is in it."""
    try:
        whole = not path.is_file() or isinstance(json.loads(path.read_text(encoding="utf-8")), dict)
    except (OSError, ValueError):
        whole = False
    if not whole:
        raise UserError(f"{path} is damaged, save or download the model again")
