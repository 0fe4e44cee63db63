"""Saving and loading a network with its configuration: config.json and model.safetensors, in a folder or on the hub."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from huggingface_hub import ModelCard, PyTorchModelHubMixin, hf_hub_download
from huggingface_hub.constants import CONFIG_NAME, SAFETENSORS_SINGLE_FILE
from pydantic import BaseModel
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from typing_extensions import Self

from attnorm.config import parse, to_dict
from attnorm.errors import UserError
from attnorm.files import check_regular
from attnorm.memory import check_memory
from attnorm.shipped import shipped_model

# What save_pretrained says of weights that nobody has described yet; "pipeline_tag" is of the networks that draw.
NOTE = """\
---
{{ card_data }}
---

Weights and configuration of `{{ network }}`, a network of `attnorm`, after
[Attentive Normalization for Conditional Image Generation]({{ paper_url }}) (CVPR 2020). To load it from this folder:

```python
from {{ module }} import {{ network }}

network = {{ network }}.from_pretrained("FOLDER")
```
{% if pipeline_tag %}
The commands and pipelines of `attnorm` take the folder as it is, or the run that it is in.

This note is no model card: it does not know the data, the training or the quality. `attnorm package RUN FOLDER` and
`attnorm push RUN ORGANISATION/NAME` write a full card from the run's records.
{% endif %}"""


class PretrainedNetwork(
    nn.Module,
    PyTorchModelHubMixin,
    library_name="attnorm",
    paper_url="https://arxiv.org/abs/2004.03828",
    tags=["attentive-normalization"],
    model_card_template=NOTE,
):
    """A network built from one configuration; `save_pretrained` and `from_pretrained` keep the two together.

    Stricter than the mixin's own loading: weights come from safetensors only, never from a pickle; every weight must be
    there and fit; and an unknown or absurd field of the configuration is refused before memory is taken.
    """

    config_class: ClassVar[type[BaseModel]]
    config: Any

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> str | None:
        """Writes config.json, model.safetensors and, where there is none yet, a note into a folder."""
        return super().save_pretrained(save_directory, config=to_dict(self.config), **options)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **options: Any) -> Self:
        """Loads a saved network from a folder, a shipped one by its name, or one of the hub by ORGANISATION/NAME.

        Raises:
            UserError: its configuration or its weights are damaged or cannot be read.
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
        settings: Any = parse(cls.config_class, config, f"{model_id}/config.json")
        what = f"the network of {model_id}/config.json"
        check_memory(weight_bytes(cls, settings), what, "choose a smaller one, or get it again")
        network = cls(settings)
        path = Path(model_id) / SAFETENSORS_SINGLE_FILE
        if not Path(model_id).is_dir():
            path = Path(hf_hub_download(repo_id=model_id, filename=SAFETENSORS_SINGLE_FILE, **hub))
        try:
            check_regular(path)
            tensors = load_file(path)
        except (OSError, SafetensorError) as error:
            raise UserError(f"{path} is missing or damaged, save or download the model again: {error}") from error
        if misfit := _misfit(network.state_dict(), tensors):
            what = f"{path} does not hold the weights that its config.json describes"
            raise UserError(f"{what} ({misfit}): save or download both again")
        network.load_state_dict(tensors)
        return network.to(map_location).eval()

    def generate_model_card(self, *args: Any, **kwargs: Any) -> ModelCard:
        """The note that `save_pretrained` leaves beside the weights where there is no card yet."""
        names = {"network": type(self).__name__, "module": type(self).__module__}
        return super().generate_model_card(*args, **{**names, **kwargs})


def weight_bytes(network: type[PretrainedNetwork], config: Any) -> int:
    """How much memory the weights of a network with this configuration take, found out without taking any.

    Without the vectors of spectral norms, which are few: on the meta device their iterations take long.
    """
    if hasattr(config, "spectral_norm"):
        config = config.model_copy(update={"spectral_norm": False})
    with torch.device("meta"), _Uninitialised():
        made = network(config)
    return sum(tensor.numel() * tensor.element_size() for tensor in (*made.parameters(), *made.buffers()))


def _misfit(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str | None:
    """What of the tensors is not as it should be. PyTorch's own look lets the counters of batch norms be missing."""
    if missing := sorted(wanted.keys() - found.keys()):
        return f"{missing[0]} is missing"
    if strange := sorted(found.keys() - wanted.keys()):
        return f"{strange[0][:60]} has no place in it"
    shapes = {name: (tuple(tensor.shape), tuple(found[name].shape)) for name, tensor in wanted.items()}
    differing = [f"{name} is {there}, not {here}" for name, (here, there) in shapes.items() if here != there]
    return differing[0] if differing else None


class _Uninitialised(TorchFunctionMode):
    """Leaves new weights as they are: drawing some on the meta device would import much of PyTorch's compiler."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(function, "__module__", "") == "torch.nn.init" or function is torch.Tensor.normal_:
            return args[0] if args else kwargs["tensor"]
        return function(*args, **(kwargs or {}))


def _check_config(path: Path) -> None:
    """The mixin reads the file without a look at what is in it."""
    try:
        if not path.is_file():
            return  # the name of a repository, or nothing: the mixin says so
        whole = isinstance(json.loads(path.read_bytes().decode()), dict)
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror or error})") from error
    except (ValueError, RecursionError):
        whole = False
    if not whole:
        raise UserError(f"{path} is damaged, save or download the model again")
