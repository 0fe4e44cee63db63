"""Writing a program to a file and reading the file back to compare it with the network that it came from."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from attnorm.errors import UserError
from attnorm.exporting.program import Program
from attnorm.files import output_file

LARGEST_DIFFERENCE = 1e-4  # of pictures in [-1, 1]: a hundredth of a grey level
METADATA = "attnorm.json"  # inside a file of torch.export
REGISTRATION_LOG = "torch.onnx._internal.exporter._registration"

Run = Callable[[Sequence[Tensor]], np.ndarray]


class Format(NamedTuple):
    """suffix: of its files. write(program, path); opened(program, path) gives a function that runs the file."""

    suffix: str
    write: Callable[[Program, Path], None]
    opened: Callable[[Program, Path], Run]


def export(program: Program, path: Path, kind: str) -> float:
    """Writes the program, runs the file, and returns its largest difference from the network, over every picture that
    `Program.arguments` makes.

    Raises:
        UserError: the file cannot be written, or does not compute what the network does; then it is not kept.
    """
    chosen = FORMATS[kind]
    with output_file(path) as partial, torch.no_grad(), _quiet():
        named = partial.with_name(f"{partial.name}{chosen.suffix}")  # some writers look at the name
        try:
            chosen.write(program, named)
            run = chosen.opened(program, named)
            differences = [
                np.abs(run(arguments) - program.module(*arguments).numpy()).max() for arguments in program.arguments()
            ]
            difference = float(np.max(differences))
            if not difference <= LARGEST_DIFFERENCE:
                raise UserError(
                    f"the {kind} file differs from the network by {difference:.1e}, more than "
                    f"{LARGEST_DIFFERENCE:.0e}: it was not kept; another version of PyTorch or the runtime may help"
                )
            named.replace(partial)
        finally:
            named.unlink(missing_ok=True)
    return difference


def _traced(program: Program) -> torch.export.ExportedProgram:
    return torch.export.export(program.module, program.example, dynamic_shapes=program.open_sizes)


def _write_torch(program: Program, path: Path) -> None:
    encoded = io.BytesIO()  # given a path, torch ends the whole process where the disk is full
    torch.export.save(_traced(program), encoded, extra_files={METADATA: json.dumps(program.about)})
    path.write_bytes(encoded.getbuffer())


def _open_torch(program: Program, path: Path) -> Run:
    module = torch.export.load(path).module()
    return lambda arguments: module(*arguments).numpy()


def _write_onnx(program: Program, path: Path) -> None:
    _require("onnx", "onnxscript", "onnxruntime")
    made = torch.onnx.export(
        _traced(program),
        dynamo=True,
        input_names=list(program.inputs),
        output_names=[program.output],
        external_data=False,
        verbose=False,
    )
    assert made is not None
    made.model.metadata_props.update(program.about)
    made.save(path)


def _open_onnx(program: Program, path: Path) -> Run:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def run(arguments: Sequence[Tensor]) -> np.ndarray:
        named = zip(program.inputs, arguments, strict=True)
        [found] = session.run([program.output], {name: argument.numpy() for name, argument in named})
        return np.asarray(found)

    return run


FORMATS = {"onnx": Format(".onnx", _write_onnx, _open_onnx), "torch-export": Format(".pt2", _write_torch, _open_torch)}


def _require(*packages: str) -> None:
    for package in packages:
        try:
            __import__(package)
        except ModuleNotFoundError as error:
            raise UserError(f"ONNX files need the package {package!r}: pip install 'attnorm[export]'") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporters warn of their own deprecations, and whoever has no torchvision of its missing operators."""
    log = logging.getLogger(REGISTRATION_LOG)
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        log.setLevel(before)
