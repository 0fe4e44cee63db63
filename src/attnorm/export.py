"""Export of a trained model to a file that runs without attnorm: ONNX, or PyTorch's exported program."""

import copy
import io
import json
import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub import ModelCard
from torch import Tensor, nn
from torch.export import Dim
from torch.nn.utils import parametrize

from attnorm import __version__
from attnorm.errors import UserError
from attnorm.files import output_file
from attnorm.models.class_conditional import Generator
from attnorm.models.inpainting import LARGEST_IMAGE, InpaintingGenerator
from attnorm.models.pretrained import find_model
from attnorm.pipelines.inpainting import SMALLEST_SIDE
from attnorm.shipped import CARD_FILE
from attnorm.training.trained import Weights, find_trained

TOLERANCE, HALF_TOLERANCE = 1e-4, 2e-2  # for images in [-1, 1]
METADATA_FILE = "attnorm.json"  # inside a .pt2 file

Run = Callable[..., np.ndarray]  # the inputs of a program in, its output out


@dataclass(frozen=True)
class Program:
    """A function of named tensors, as `module` computes it; `exact` is the same in float32."""

    module: nn.Module
    exact: nn.Module
    inputs: tuple[str, ...]
    output: str
    dynamic_shapes: tuple[dict[int, Any], ...]  # the dynamic axes of each input, as `torch.export` takes them
    cases: list[tuple[Tensor, Tensor]]  # several batches and sizes; the first is traced, the others are checked
    metadata: dict[str, str]

    def trace(self) -> torch.export.ExportedProgram:
        return torch.export.export(self.module, self.cases[0], dynamic_shapes=self.dynamic_shapes)


def export(model: str | Path, out: Path, *, weights: Weights | None = None, half: bool = False) -> float:
    """Writes a model to FILE.onnx or FILE.pt2 (PyTorch's exported program) and compares it with the network.

    `model` and `weights` are as in `find_trained`. `half` computes in float16, in a file of half the size; inputs and
    output stay in float32.

    Returns the largest difference of the outputs, for images in [-1, 1]. Raises a UserError if a package is missing,
    the file cannot be written, or its output differs too much: it is then not kept.
    """
    if out.suffix not in WRITERS:
        raise UserError(f"{out}: the name must end in {' or '.join(WRITERS)}")
    trained, tolerance = find_trained(model, weights), HALF_TOLERANCE if half else TOLERANCE
    card = find_model(model) / CARD_FILE
    licence = ModelCard.load(card).data.license if card.is_file() else None
    metadata = {"made_with": f"attnorm {__version__}", "licence": str(licence or "not stated")}
    network = _without_parametrizations(trained.pipeline("cpu").generator)
    program = _inpainter(network, metadata) if trained.task == "inpainting" else _generator(network, metadata)
    if half:
        program = replace(program, module=copy.deepcopy(program.module).half())
    with output_file(out) as partial, torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporters warn of their own deprecations
        run = WRITERS[out.suffix](program, partial)
        differences = [np.abs(run(*case) - program.exact(*case).numpy()).max() for case in program.cases[1:]]
        difference = float(np.max(differences))
        if not difference <= tolerance:
            what = f"{out} was not kept: its output differs from the network's by {difference:.1e}, more than"
            raise UserError(f"{what} {tolerance:.0e}; try another version of PyTorch or of the runtime")
    return difference


def _generator(network: Generator, metadata: dict[str, str]) -> Program:
    config, batch = network.config, {0: Dim("batch")}
    random = torch.Generator().manual_seed(0)

    def case(n: int) -> tuple[Tensor, Tensor]:
        labels = torch.randint(config.num_classes, (n,), generator=random)
        return torch.randn(n, config.latent_dim, generator=random), labels

    metadata |= {
        "task": "class-conditional",
        "latent_dim": str(config.latent_dim),
        "class_names": json.dumps(config.class_names or [str(label) for label in range(config.num_classes)]),
        "image_size": str(config.image_size),
        "inputs": "noise (batch, latent_dim) float32, standard normal; labels (batch,) int64, indices of class_names",
        "output": "images (batch, 3, image_size, image_size) float32 in [-1, 1]",
    }
    module, cases = _Generator(network), [case(n) for n in (2, 1, 3)]
    return Program(module, module, ("noise", "labels"), "images", (batch, batch), cases, metadata)


def _inpainter(network: InpaintingGenerator, metadata: dict[str, str]) -> Program:
    random = torch.Generator().manual_seed(0)

    def case(n: int, height: int, width: int) -> tuple[Tensor, Tensor]:
        mask = torch.zeros(n, 1, height, width)
        mask[:, :, height // 4 : height // 2, width // 3 : width // 2] = 1
        return torch.rand(n, 3, height, width, generator=random) * 2 - 1, mask

    height, width = (Dim(name, min=SMALLEST_SIDE, max=LARGEST_IMAGE) for name in ("height", "width"))
    axes = {0: Dim("batch"), 2: height, 3: width}
    metadata |= {
        "task": "inpainting",
        "smallest_side": str(SMALLEST_SIDE),
        "image_size": str(network.config.image_size),
        "inputs": "image (batch, 3, height, width) float32 in [-1, 1]; mask (batch, 1, height, width) float32, 1 for "
        "missing pixels, else 0; height and width are at least smallest_side",
        "output": "completed (batch, 3, height, width) float32 in [-1, 1], known pixels as in image",
    }
    module = _Inpainter(network)
    cases = [case(2, 67, 97), case(1, 72, 48), case(3, 128, 135)]
    return Program(module, module, ("image", "mask"), "completed", (axes, axes), cases, metadata)


class _Generator(nn.Module):
    """The network, with float32 noise as input even if its weights are float16."""

    def __init__(self, network: Generator) -> None:
        super().__init__()
        self.network = network

    def forward(self, noise: Tensor, labels: Tensor) -> Tensor:
        return self.network(noise.to(self.network.norm.weight.dtype), labels)


class _Inpainter(nn.Module):
    """The refined output inside the mask, the image outside; padded for the network as in the pipeline."""

    def __init__(self, network: InpaintingGenerator) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        height, width = image.shape[2:]
        rows, columns = (_reflected(length, self.network.config.stride) for length in (height, width))
        padded, missing = (t.index_select(2, rows).index_select(3, columns) for t in (image, mask))
        refined = self.network(padded.to(next(self.parameters()).dtype), missing).refined
        refined = refined.index_select(2, torch.arange(height)).index_select(3, torch.arange(width))
        return torch.where(mask != 0, refined, image)


def _reflected(length: int, stride: int) -> Tensor:
    """Indices from 0 to length - 1 and back, up to the next multiple of the stride; has no branch on the length."""
    index = torch.arange((length + stride - 1) // stride * stride)
    return torch.where(index < length, index, 2 * (length - 1) - index)


def _without_parametrizations(network: Any) -> Any:
    """A copy with plain tensors for spectrally normalized weights, and a memory order without conditions on sizes."""
    network = copy.deepcopy(network).requires_grad_(False).to(memory_format=torch.contiguous_format)
    for module in network.modules():
        for name in list(getattr(module, "parametrizations", ())):
            parametrize.remove_parametrizations(module, name)
    return network


def _write_torch(program: Program, path: Path) -> Run:
    encoded = io.BytesIO()  # with a path, torch aborts the process if the disk is full
    torch.export.save(program.trace(), encoded, extra_files={METADATA_FILE: json.dumps(program.metadata)})
    path.write_bytes(encoded.getbuffer())
    module = torch.export.load(io.BytesIO(path.read_bytes())).module()
    return lambda *inputs: module(*inputs).numpy()


def _write_onnx(program: Program, path: Path) -> Run:
    import onnx  # noqa: F401
    import onnxruntime
    import onnxscript  # noqa: F401

    logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)  # no torchvision, no harm
    traced, names = program.trace(), list(program.inputs)
    made = torch.onnx.export(
        traced, dynamo=True, input_names=names, output_names=[program.output], external_data=False, verbose=False
    )
    assert made is not None
    made.model.metadata_props.update(program.metadata)
    made.save(path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def run(*inputs: Tensor) -> np.ndarray:
        arrays = {name: tensor.numpy() for name, tensor in zip(names, inputs, strict=True)}
        return np.asarray(session.run([program.output], arrays)[0])

    return run


# By suffix. Each writes the file, opens it again, and returns the function that it computes.
WRITERS: dict[str, Callable[[Program, Path], Run]] = {".onnx": _write_onnx, ".pt2": _write_torch}
