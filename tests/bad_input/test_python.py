"""Public functions called from Python: a ValueError or UserError that says which argument is wrong."""

import re

import numpy as np
import pytest
import torch
from PIL import Image

from attnorm import AttentiveNorm2d, ClassConditionalPipeline, InpaintingPipeline, SelfAttention2d, regional_norm
from attnorm.config import derive, from_dict, override, read_yaml
from attnorm.data.batches import batch_indices
from attnorm.data.dataset import ImageDataset, open_prepared
from attnorm.data.masks import MaskConfig, Masks
from attnorm.data.prepare import prepare
from attnorm.errors import UserError, one_line
from attnorm.layers import ConditionalBatchNorm2d, ContextualAttention2d, SemanticLayout, backend_for
from attnorm.metrics.agreement import agreement
from attnorm.metrics.features import load_extractor
from attnorm.metrics.kid import kernel_distance
from attnorm.metrics.precision_recall import precision_recall
from attnorm.metrics.reconstruction import reconstruction, structural_similarity
from attnorm.metrics.registry import find_metrics
from attnorm.models.class_conditional import (
    Discriminator,
    DiscriminatorConfig,
    Generator,
    GeneratorConfig,
    LongRangeConfig,
)
from attnorm.models.inpainting import (
    InpaintingCritic,
    InpaintingCriticConfig,
    InpaintingGenerator,
    InpaintingGeneratorConfig,
)
from attnorm.plots import save_picture
from attnorm.presets import get_preset
from attnorm.training.class_conditional import ClassConditionalConfig

zeros, x, s = torch.zeros, torch.zeros(2, 8, 4, 4), torch.full((2, 3, 4, 4), 1 / 3)

LAYERS = {
    "no features": (lambda: AttentiveNorm2d(0), "num_features"),
    "negative features": (lambda: AttentiveNorm2d(-8), "num_features"),
    "half a feature": (lambda: AttentiveNorm2d(7.5), "num_features"),
    "features in words": (lambda: AttentiveNorm2d("8"), "num_features"),
    "true features": (lambda: AttentiveNorm2d(True), "num_features"),
    "no entities": (lambda: AttentiveNorm2d(8, 0), "num_entities"),
    "half an entity": (lambda: AttentiveNorm2d(8, 2.5), "num_entities"),
    "no key channels": (lambda: AttentiveNorm2d(8, key_channels=0), "key_channels"),
    "no pooling": (lambda: AttentiveNorm2d(8, pool_size=0), "pool_size"),
    "half a pooling": (lambda: AttentiveNorm2d(8, pool_size=1.5), "pool_size"),
    "temperature 0": (lambda: AttentiveNorm2d(8, temperature=0), "temperature"),
    "temperature nan": (lambda: AttentiveNorm2d(8, temperature=float("nan")), "temperature"),
    "temperature inf": (lambda: AttentiveNorm2d(8, temperature=float("inf")), "temperature"),
    "temperature in words": (lambda: AttentiveNorm2d(8, temperature="hot"), "temperature"),
    "negative eps": (lambda: AttentiveNorm2d(8, eps=-1e-5), "eps"),
    "entity_std 0": (lambda: AttentiveNorm2d(8, entity_std=0), "entity_std"),
    "statistics": (lambda: AttentiveNorm2d(8, statistics="layer"), "statistics"),
    "variance": (lambda: AttentiveNorm2d(8, variance="algorithm2"), "variance"),
    "affine": (lambda: AttentiveNorm2d(8, affine=True), "affine"),
    "layout of no features": (lambda: SemanticLayout(0), "num_features"),
    "other channels": (lambda: AttentiveNorm2d(4)(x), "x must be"),
    "no batch": (lambda: AttentiveNorm2d(8)(x[0]), "x must be"),
    "no pixel": (lambda: AttentiveNorm2d(8)(x[..., :0]), "x must have at least one pixel"),
    "whole numbers": (lambda: AttentiveNorm2d(8, 3)(x.long()), "x must be floating point"),
    "an array": (lambda: AttentiveNorm2d(8, 3)(x.numpy()), "x must be"),
    "a list": (lambda: AttentiveNorm2d(8, 3)([1]), "x must be"),
    "too few pixels": (lambda: AttentiveNorm2d(8, 17)(x), "self-sampling draws 17 positions"),
    "layout of other channels": (lambda: SemanticLayout(4).layout(x), "x must be"),
    "attention of nothing": (lambda: SelfAttention2d(0), "num_features"),
    "attention of halves": (lambda: SelfAttention2d(7.5), "num_features"),
    "attention to one row": (lambda: SelfAttention2d(8)(x[:, :, :1]), "h >= 2"),
    "contextual rate": (lambda: ContextualAttention2d(0), "rate"),
    "contextual patch": (lambda: ContextualAttention2d(patch_size=2), "patch_size"),
    "contextual scale": (lambda: ContextualAttention2d(softmax_scale=0), "softmax_scale"),
    "contextual map": (lambda: ContextualAttention2d()(zeros(1, 3, 5, 5), zeros(1, 1, 5, 5)), "multiples of 2"),
    "contextual mask": (lambda: ContextualAttention2d()(x, zeros(2, 1, 2, 2)), "mask must be"),
    "mixture": (lambda: ConditionalBatchNorm2d(8, 3)(x, zeros(2, 4)), "labels must be"),
    "real labels": (lambda: ConditionalBatchNorm2d(8, 3)(x, zeros(2)), "labels must be"),
    "fewer labels": (lambda: ConditionalBatchNorm2d(8, 3)(x, zeros(1, dtype=torch.long)), "labels must be"),
    "norm of no classes": (lambda: ConditionalBatchNorm2d(8, 0), "num_classes"),
    "operator: dimensions": (lambda: regional_norm(x[0], s), "v and s must be"),
    "operator: batch": (lambda: regional_norm(x, s[:1]), "must agree"),
    "operator: size": (lambda: regional_norm(x, s[..., :2]), "must agree"),
    "operator: type": (lambda: regional_norm(x.long(), s), "floating point"),
    "operator: no region": (lambda: regional_norm(x, s[:, :0]), "at least one channel"),
    "operator: weight": (lambda: regional_norm(x, s, zeros(8, 3)), "weight must be"),
    "operator: bias": (lambda: regional_norm(x, s, None, zeros(7)), "bias must be"),
    "operator: variance": (lambda: regional_norm(x, s, variance="none"), "variance must be"),
    "operator: backend": (lambda: regional_norm(x, s, backend="cuda"), "backend must be"),
    "operator: eps": (lambda: regional_norm(x, s, eps=-1.0), "eps must not be negative"),
    "backend": (lambda: backend_for(x, s, backend="fast"), "backend must be"),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_says_what_is_wrong(name):
    call, part = LAYERS[name]
    with pytest.raises(ValueError, match=re.escape(part)) as caught:
        call()
    assert len(str(caught.value)) < 300


@pytest.fixture(scope="module")
def networks():
    torch.manual_seed(0)
    small = {"channels": (8, 8, 8, 8)}
    return {
        "g": Generator(GeneratorConfig(num_classes=3, latent_dim=8, **small)).eval(),
        "d": Discriminator(DiscriminatorConfig(num_classes=3, **small)).eval(),
        "p": InpaintingGenerator(InpaintingGeneratorConfig(image_size=32, width=2)).eval(),
        "c": InpaintingCritic(InpaintingCriticConfig(image_size=32, local_size=16, width=2)).eval(),
    }


z, labels, pictures, mask = zeros(2, 8), torch.tensor([0, 2]), zeros(2, 3, 32, 32), zeros(2, 1, 32, 32)
FORWARDS = {
    "noise of another width": ("g", (zeros(2, 7), labels), "z must be (b, 8)"),
    "noise without a batch": ("g", (zeros(8), labels), "z must be (b, 8)"),
    "fewer labels than noise": ("g", (z, labels[:1]), "labels must be"),
    "real labels": ("g", (z, labels.float()), "labels must be"),
    "a label too large": ("g", (z, torch.tensor([0, 3])), "labels must be from 0 to 2, got 0 to 3"),
    "a negative label": ("g", (z, torch.tensor([-1, 2])), "labels must be from 0 to 2, got -1 to 2"),
    "a mixture of others": ("g", (z, zeros(2, 4)), "labels must be"),
    "pictures of another size": ("d", (zeros(2, 3, 16, 16), labels), "x must be (b, 3, 32, 32)"),
    "a judged label too large": ("d", (pictures, torch.tensor([0, 3])), "labels must be from 0 to 2"),
    "judged mixtures": ("d", (pictures, zeros(2, 3)), "labels must be"),
    "a picture that is no multiple": ("p", (zeros(1, 3, 30, 30), zeros(1, 1, 30, 30)), "multiples of 4"),
    "a mask of another size": ("p", (pictures, mask[..., :16]), "mask must be"),
    "a mask of three": ("p", (pictures, zeros(3, 1, 32, 32)), "mask must be"),
    "criticised pictures": ("c", (zeros(2, 3, 16, 16), mask), "picture must be"),
}


@pytest.mark.parametrize("name", FORWARDS)
def test_a_network_says_what_is_wrong(name, networks):
    network, inputs, part = FORWARDS[name]
    with pytest.raises(ValueError, match=re.escape(part)):
        networks[network](*inputs)


CONFIGS = {
    "channels": (lambda: GeneratorConfig(channels=(8,)), "generator.channels must have"),
    "size": (lambda: GeneratorConfig(image_size=48), "not image_size 48"),
    "classes": (lambda: DiscriminatorConfig(num_classes=0), "discriminator.num_classes"),
    "halvings": (lambda: DiscriminatorConfig(image_size=33), "cannot be halved"),
    "entities": (lambda: LongRangeConfig(num_entities=0), "num_entities"),
    "width": (lambda: InpaintingGeneratorConfig(width=5), "generator.width must be even"),
    "critic": (lambda: InpaintingCriticConfig(local_size=512), "critic.local_size"),
    "betas": (lambda: ClassConditionalConfig(betas=(1.0, 1.0)), "betas"),
    "masks": (lambda: MaskConfig(fraction=(0.5, 0.1)), "mask fraction"),
    "brush": (lambda: MaskConfig(brush=(0.0, 0.1)), "mask brush"),
    "derived": (lambda: derive(get_preset("an-gan-digits"), {"steps": 0}), "steps must be at least 1"),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_configuration_says_what_is_wrong(name):
    call, part = CONFIGS[name]
    with pytest.raises(ValueError, match=re.escape(part)):
        call()


NAMES = ("cat", "0", "dog")


@pytest.fixture(scope="module")
def drawing():
    torch.manual_seed(0)
    config = GeneratorConfig(num_classes=3, channels=(8, 8, 8, 8), latent_dim=8, class_names=NAMES)
    return ClassConditionalPipeline(Generator(config))


DRAWINGS = {
    "a fraction": ({"labels": [3.7]}, "3.7"),
    "a whole fraction": ({"labels": [1.0]}, "1.0"),
    "not a number": ({"labels": [float("nan")]}, "nan"),
    "true": ({"labels": [True]}, "True"),
    "none": ({"labels": [None]}, "None"),
    "a list": ({"labels": [[1]]}, "[1]"),
    "too large": ({"labels": [3]}, "there is no class 3: the model's classes are 0 to 2"),
    "negative": ({"labels": [-1]}, "there is no class -1"),
    "negative text": ({"labels": ["-1"]}, "there is no class -1"),
    "an underscore": ({"labels": ["0_1"]}, "there is no class '0_1'"),
    "other digits": ({"labels": ["\uff11"]}, "there is no class"),
    "misspelt": ({"labels": ["cta"]}, "did you mean 'cat'?", "the model knows cat, 0, dog"),
    "capitals": ({"labels": ["Cat"]}, "did you mean 'cat'?"),
    "empty text": ({"labels": [""]}, "there is no class ''"),
    "no label": ({"labels": []}, "labels must be a non-empty list"),
    "a text": ({"labels": "cat"}, "labels must be a non-empty list"),
    "a number": ({"labels": 1}, "labels must be a non-empty list"),
    "bytes": ({"labels": b"01"}, "labels must be a non-empty list"),
    "no picture": ({"num_images": 0}, "number of pictures must be at least 1"),
    "half a picture": ({"num_images": 2.5}, "number of pictures must be a whole number, got 2.5"),
    "pictures in words": ({"num_images": "4"}, "number of pictures must be a whole number, got '4'"),
    "too many pictures": ({"num_images": 10**12}, "number of pictures must be at most 1048576"),
    "too many labels": ({"labels": range(10**7)}, "number of pictures must be at most 1048576"),
    "negative seed": ({"seed": -1}, "seed must be from 0"),
    "half a seed": ({"seed": 1.5}, "seed must be a whole number, got 1.5"),
    "no seed": ({"seed": None}, "seed must be a whole number, got None"),
    "large seed": ({"seed": 1 << 63}, "seed must be from 0"),
}


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_drawing_says_what_is_wrong(name, drawing):
    options, *parts = DRAWINGS[name]
    for call in (drawing, drawing.draw, drawing.stream):
        with pytest.raises(UserError) as caught:
            call(**options)
        assert all(part in str(caught.value) for part in parts), str(caught.value)
        assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "labels", [[2, 0], (2, 0), ["dog", "cat"], ["2", "cat"], np.array([2, 0]), torch.tensor([2, 0])]
)
def test_labels_come_in_many_forms(labels, drawing):
    assert drawing.draw(labels, np.int64(3), seed=np.int32(1)).labels == [2, 0, 2]


def test_a_journey_says_what_is_wrong(drawing):
    for options, part in (
        ({"frames": 1}, "frames must be at least 2"),
        ({"frames": 2.5}, "frames must be a whole number"),
        ({"rows": 0}, "rows must be at least 1"),
        ({"rows": 10**6, "frames": 10**6}, "at most 1048576"),
        ({"seed": "x"}, "seed must be a whole number"),
    ):
        with pytest.raises(UserError, match=re.escape(part)):
            drawing.interpolate("cat", "dog", **options)
    with pytest.raises(UserError, match="there is no class 5"):
        drawing.interpolate("cat", 5)


@pytest.fixture(scope="module")
def painting(networks):
    return InpaintingPipeline(networks["p"])


photo, spot = Image.new("RGB", (40, 40)), Image.new("L", (40, 40))
spot.paste(255, (10, 10, 20, 20))
grid = zeros(3, 40, 40, dtype=torch.uint8)
cut = torch.from_numpy(np.asarray(spot).copy())
PAINTINGS = {
    "two forms": ((photo, cut), "in one form"),
    "an array": ((np.asarray(photo), np.asarray(spot)), "must be a PIL picture or a tensor"),
    "a path": (("photo.png", "hole.png"), "must be a PIL picture or a tensor"),
    "fewer masks": (([photo, photo], [spot]), "2 pictures need one mask"),
    "another size": ((photo, spot.resize((20, 20))), "the mask is 20×20 and the image 40×40"),
    "an empty mask": ((photo, Image.new("L", (40, 40))), "marks no pixel"),
    "a full mask": ((photo, Image.new("L", (40, 40), 255)), "marks every pixel"),
    "floating point": ((Image.new("F", (40, 40)), spot), "no defined range"),
    "32 bits": ((Image.fromarray(np.full((40, 40), 1 << 20, np.int32)), spot), "no defined range"),
    "a dot": ((photo.crop((0, 0, 1, 1)), spot.crop((12, 12, 13, 13))), "marks every pixel"),
    "a strip": ((photo.crop((0, 0, 40, 16)), spot.crop((0, 0, 40, 16))), "at least 32 pixels a side"),
    "a mode": ((photo, spot, "fast"), "mode must be one of"),
    "channels": ((grid[:1], cut), "must be (3, h, w)"),
    "range": ((grid.float() + 255, cut), "must be in [-1, 1]"),
    "nan": ((grid.float() * float("nan"), cut), "must be in [-1, 1]"),
    "type": ((grid.long(), cut), "must be uint8 or floating point"),
    "mask size": ((grid, cut[:20]), "does not fit pictures"),
    "mask of nothing": ((grid, cut * 0), "marks no pixel"),
}


@pytest.mark.parametrize("name", PAINTINGS)
def test_a_completion_says_what_is_wrong(name, painting):
    inputs, part = PAINTINGS[name]
    with pytest.raises(UserError, match=re.escape(part)):
        painting(*inputs)


ones = np.zeros((2, 16, 16, 3), np.uint8)
OTHERS = {
    "preset": (lambda tmp: get_preset("an-gan"), "did you mean"),
    "yaml": (lambda tmp: read_yaml(tmp / "lost.yaml"), "does not exist"),
    "dict": (lambda tmp: from_dict(ClassConditionalConfig, [], "here"), "here: expected names and values"),
    "override": (lambda tmp: override(ClassConditionalConfig(), ["5"]), "unexpected argument '5'"),
    "prepared": (lambda tmp: open_prepared(tmp), "dataset.json: No such file"),
    "no folder": (lambda tmp: open_prepared(tmp / "lost"), "is not a prepared folder"),
    "size": (lambda tmp: prepare(tmp, tmp / "out", 0), "size of the images must be from 1"),
    "images": (lambda tmp: ImageDataset(ones[..., 0], np.zeros(2, np.int64), ("a",)), "images must be (N, S, S, 3)"),
    "labels": (lambda tmp: ImageDataset(ones, np.zeros(2), ("a",)), "int64 labels"),
    "a label": (lambda tmp: ImageDataset(ones, np.array([0, 1]), ("a",)), "labels run from 0 to 1"),
    "names": (lambda tmp: ImageDataset(ones, np.array([0, 1]), ("a", "a")), "class names must differ"),
    "mask size": (lambda tmp: Masks(MaskConfig(), (1, 1)), "at least 2 x 2 pixels"),
    "centre": (lambda tmp: Masks(MaskConfig(kind="centre", fraction=(0.9, 0.9)), (4, 40)), "lower the mask fraction"),
    "mask folder": (lambda tmp: Masks(MaskConfig(kind="folder", folder=str(tmp)), (8, 8)), "holds no picture"),
    "extractor": (lambda tmp: load_extractor("vgg"), "choose efficientnet-lite0"),
    "metric": (lambda tmp: find_metrics(["fid"]), "unknown metric 'fid'"),
    "no metric": (lambda tmp: find_metrics([]), "no metric was named"),
    "kernel": (lambda tmp: kernel_distance(zeros(4, 2), zeros(4, 2), 0, subsets=1, subset_size=9), "2 to 4 pictures"),
    "precision": (lambda tmp: precision_recall(zeros(3, 2), zeros(9, 2)), "more than 3 pictures a side"),
    "picture name": (lambda tmp: save_picture(ones[0], tmp / "a.xyz"), "must end in an image format"),
    "batch": (lambda tmp: batch_indices(0, 0, 4, 0), "a batch needs items"),
    "types": (lambda tmp: reconstruction(ones * 1.0, ones, ones[..., 0] + 1), "uint8"),
    "shapes": (lambda tmp: reconstruction(ones, ones[:1], ones[..., 0] + 1), "shapes differ"),
    "empty": (lambda tmp: reconstruction(ones, ones, ones[..., 0]), "marks no pixel"),
    "small": (lambda tmp: structural_similarity(ones[:, :8, :8], ones[:, :8, :8]), "at least 11 x 11"),
    "agreement": (lambda tmp: agreement(s, zeros(2, 4, 4).long() + 9, 4), "region"),
    "device": (lambda tmp: ClassConditionalPipeline.from_pretrained(tmp, device="tpu"), "choose cpu"),
    "no device": (lambda tmp: ClassConditionalPipeline.from_pretrained(tmp, device=None), "choose cpu"),
    "model": (lambda tmp: InpaintingPipeline.from_pretrained(tmp), "neither a run nor a saved model"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_functions_say_what_is_wrong(name, tmp_path):
    call, part = OTHERS[name]
    with pytest.raises((UserError, ValueError), match=re.escape(part)):
        call(tmp_path)


def test_a_message_is_one_line_of_text():
    assert one_line("a\nb\x1b[31m\tc ü 写\u202e\ud800") == "a\\nb\\x1b[31m\\tc ü 写\\u202e\\ud800"
