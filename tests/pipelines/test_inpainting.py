"""Completed images from a trained inpainting model."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

import attnorm
from attnorm.data.decode import to_uint8
from attnorm.layers import attentive_norm
from attnorm.pipelines.inpainting import InpaintingPipeline
from tests import networks
from tests.pipelines.test_class_conditional import largest_difference
from tests.runs import refusal

MODES = ("auto", "native", "crop", "resize")


@pytest.fixture(scope="module")
def pipe():
    return attnorm.InpaintingPipeline(networks.inpainter())


def image_and_mask(height=64, width=64, seed=0):
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    mask = np.zeros((height, width), bool)
    mask[height // 4 : height // 2, width // 3 : width // 2] = True
    return image, mask


def directly(pipe, image, mask):
    """The network's composite at the image's own size, padded by reflection to a multiple of its stride."""
    height, width = mask.shape
    x = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 127.5 - 1
    inputs = (x, torch.from_numpy(mask)[None, None].float())
    padded = [functional.pad(t, (0, -width % 4, 0, -height % 4), mode="reflect") for t in inputs]
    with torch.no_grad():
        found = to_uint8(pipe.generator(*padded).refined)[0, :height, :width]
    return np.where(mask[..., None], found, image)


@pytest.mark.parametrize("kind", ["attentive_norm", "contextual_attention", "none"])
def test_native_is_the_network_on_the_whole_image(kind, monkeypatch):
    pipe, reasons, given = InpaintingPipeline(networks.inpainter(kind)), [], attentive_norm.refusal
    image, mask = image_and_mask(*((62, 67) if kind == "attentive_norm" else (64, 96)))
    noted = lambda *call, **how: reasons.append(given(*call, **how)) or reasons[-1]  # noqa: E731
    monkeypatch.setattr(attentive_norm, "refusal", noted)
    (found,) = pipe.complete([image], [mask], "native")
    assert not [reason for reason in reasons if "hooked" in str(reason)]  # the progress bar's hooks keep the kernel
    assert largest_difference(found, directly(pipe, image, mask)) <= 1
    assert largest_difference(found[mask], image[mask]) > 20
    assert found[mask].std() > 1


@pytest.mark.promise
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [(64, 64), (33, 47), (32, 130), (150, 200), (601, 40)])
def test_known_pixels_come_back_bit_for_bit_and_missing_ones_are_not_seen(pipe, mode, size):
    image, mask = image_and_mask(*size)
    given = image.copy()
    (found,) = pipe.complete([image], [mask], mode)
    assert found.shape == image.shape and found.dtype == np.uint8
    assert np.array_equal(found[~mask], given[~mask])
    assert np.array_equal(image, given)  # the input stays as it is
    assert (found[mask] != given[mask]).mean() > 0.9
    other = np.where(mask[..., None], 255 - image, image)
    assert np.array_equal(found, pipe.complete([other], [mask], mode)[0])


def test_crop_is_the_network_on_a_window_around_each_missing_part(pipe):
    image, mask = image_and_mask(500, 500)
    mask[:] = False
    for top, left in ((0, 0), (480, 480), (250, 10), (30, 400)):
        mask[top : top + 20, left : left + 20] = True
    windows, expected = pipe.plan(mask, "crop").windows, image.copy()
    assert [window.size for window in windows] == [(64, 64)] * 4
    for window in windows:
        expected[window.slices] = directly(pipe, image[window.slices], mask[window.slices])
    assert largest_difference(pipe.complete([image], [mask], "crop")[0], expected) <= 1


def test_resize_is_the_network_on_the_smaller_image(pipe):
    """Of an image made of 2 x 2 blocks, the smaller one is every second pixel."""
    small, mask = image_and_mask(64, 48)
    large, inside = small.repeat(2, 0).repeat(2, 1), mask.repeat(2, 0).repeat(2, 1)
    (found,) = pipe.complete([large], [inside], "resize")
    composite = torch.from_numpy(directly(pipe, small, mask)).permute(2, 0, 1)[None].float()
    expected = functional.interpolate(composite, scale_factor=2, mode="bicubic").clamp(0, 255).round()
    assert largest_difference(found[inside], expected[0].permute(1, 2, 0).numpy()[inside]) <= 2
    assert np.array_equal(pipe.complete([small], [mask], "resize")[0], pipe.complete([small], [mask], "native")[0])


def test_the_plan_says_the_mode_and_how_many_pixels_go_through_the_network_at_once(pipe):
    for size, mode in (((512, 512), "native"), ((32, 513), "crop"), ((2000, 2000), "crop")):
        assert pipe.plan(image_and_mask(*size)[1]).mode == mode
    mask = np.zeros((5000, 5000), bool)
    mask[1000:1010, 1000:1010] = True
    assert [pipe.plan(mask, mode).pixels for mode in ("native", "crop", "resize")] == [5000**2, 64**2, 64**2]


def test_pil_images_keep_their_mode_profile_and_known_pixels_and_come_back_upright(pipe):
    array, mask = image_and_mask(64, 40)
    image, light = Image.fromarray(array), Image.fromarray(np.where(mask, 200, 50).astype(np.uint8))
    image.info["icc_profile"] = b"profile"
    expected = pipe.complete([array], [mask])[0]
    assert np.array_equal(np.asarray(pipe(image, light).images[0]), expected)
    for mode in ("L", "LA", "RGBA"):
        given = image.convert(mode)
        [out] = pipe(given, light)
        assert out.mode == mode
        assert np.array_equal(np.asarray(out)[~mask], np.asarray(given)[~mask])
    for given, profile in ((image, b"profile"), (image.convert("CMYK"), None)):
        file = io.BytesIO()
        pipe(given, light)[0].save(file, "PNG")
        assert (Image.open(file).mode, Image.open(file).info.get("icc_profile")) == ("RGB", profile)
    turned = Image.fromarray(np.rot90(array).copy())  # stored lying down
    turned.getexif()[0x0112] = 6
    [out] = pipe(turned, light)
    assert np.array_equal(np.asarray(out), expected) and 0x0112 not in out.getexif()


def test_images_and_masks_are_files_images_arrays_tensors_batches_or_lists(pipe, tmp_path):
    image, mask = image_and_mask(50, 60)
    other, its_mask = image[::-1].copy(), mask[::-1].copy()
    expected = [pipe.complete([each], [one])[0] for each, one in ((image, mask), (other, its_mask))]
    Image.fromarray(image).save(tmp_path / "image.png")
    Image.fromarray(mask).save(tmp_path / "mask.png")
    x, m = torch.from_numpy(image).permute(2, 0, 1), torch.from_numpy(mask)
    images = [tmp_path / "image.png", str(tmp_path / "image.png"), Image.fromarray(image), image, image / 255, x]
    images += [x[None], x / 127.5 - 1, image[None]]
    masks = [tmp_path / "mask.png", Image.fromarray(mask), mask, mask[..., None], m, m[None, None], m.float() * 0.6]
    masks += [np.uint8(mask) * 200 + 20, np.dstack([np.uint8(mask) * 255] * 3), m.byte()]
    for given, its in [(image, masks[0]) for image in images] + [(images[0], mask) for mask in masks]:
        [found] = pipe(image=given, mask_image=its).images
        assert found.mode == "RGB" and largest_difference(np.asarray(found), expected[0]) <= 1
    batch = np.stack([image, other])
    for given, its in (([images[0], other], [m, its_mask]), (batch, np.stack([mask, its_mask]))):
        for found, one in zip(pipe(given, its), expected, strict=True):
            assert largest_difference(np.asarray(found), one) <= 1
    assert largest_difference(np.asarray(pipe([other, image], masks[0])[1]), expected[0]) <= 1  # one mask for all
    clear = np.dstack([image, np.where(mask, 0, 255).astype(np.uint8)])  # without a mask, what is transparent
    assert np.array_equal(pipe(clear, output_type="np").images[0, ..., :3][~mask], image[~mask])
    assert np.array_equal(np.rint(pipe(images[0], mask, output_type="np").images[0] * 255), expected[0])


@pytest.mark.promise
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64])
def test_tensors_come_back_as_they_came_whatever_is_missing(pipe, dtype):
    image, array = image_and_mask(50, 60)
    x, mask = torch.from_numpy(image).permute(2, 0, 1), torch.from_numpy(array)
    x = x if dtype == torch.uint8 else (x.to(dtype) / 127.5 - 1)
    out = pipe(x, mask, output_type="pt").images[0]
    assert (out.dtype, out.shape) == (dtype, x.shape)
    assert torch.equal(out[:, ~mask], x[:, ~mask])
    in_grey_levels = out if dtype == torch.uint8 else (out + 1) * 127.5
    expected = pipe.complete([image], [array])[0].astype(float)
    assert np.abs(in_grey_levels.permute(1, 2, 0).numpy() - expected).max() <= 0.51
    light = x if dtype == torch.uint8 else x.abs()  # in a batch in the other's range, though it has no negative value
    batch = pipe(torch.stack([x, light]), mask[None, None], output_type="pt").images
    assert torch.equal(batch[0], out) and batch.shape == (2, *x.shape)
    if dtype != torch.uint8:
        [found] = pipe(((light + 1) * 127.5).round().byte(), mask, output_type="pt").images
        assert ((batch[1] + 1) * 127.5 - found).abs().max() <= 0.51
    for mode in MODES if dtype == torch.float32 else ():
        hidden = torch.where(mask, torch.nan, x)
        found, other = (pipe(each, mask, mode, output_type="pt").images for each in (hidden, x))
        assert torch.equal(found, other)


def test_stages_are_both_images_of_the_network_and_its_layouts(pipe):
    images, masks = (np.stack(t) for t in zip(*(image_and_mask(62, 64, seed) for seed in range(2)), strict=True))
    stages = pipe.stages(images, masks)
    assert largest_difference(stages.coarse, stages.refined) > 5
    completed = np.where(masks[..., None], stages.refined, images)
    assert largest_difference(completed, np.stack(pipe.complete(images, masks))) <= 1
    assert stages.layouts["attentive.norm"].shape == (2, 4, 16, 16)
    np.testing.assert_allclose(stages.layouts["attentive.norm"].sum(1), 1, atol=1e-5)


IMAGE, LIGHT = (Image.fromarray(t) for t in image_and_mask())
X, MASK = torch.zeros(3, 64, 64), torch.from_numpy(image_and_mask()[1])


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ((IMAGE, LIGHT.resize((32, 64))), "mask 0 (the mask is 32×64, not 64×64 like the image"),
        (([IMAGE, IMAGE], [LIGHT, Image.new("L", (64, 64), 127)]), "mask 1 (the mask marks no pixel"),
        ((IMAGE.resize((31, 64)), LIGHT.resize((31, 64))), "at least 32 pixels a side, got 31×64"),
        ((IMAGE, LIGHT, "magic"), "mode must be one of auto, native, crop, resize, got 'magic'"),
        (([IMAGE, IMAGE], [LIGHT] * 3), "mask: 2 images need 1 or 2 masks, got 3"),
        ((3, MASK), "image 0 (it must be a file, a PIL image, an array or a tensor, got int"),
        ((X[:2], MASK), "image 0 (it must have 3 channels, uint8 or floating point, got 2 of float32"),
        ((X + 2, MASK), "image 0 (floating-point values must be in [0, 1] or [-1, 1]"),
    ],
)
def test_what_cannot_be_completed_is_refused(pipe, arguments, part):
    assert part in refusal(pipe, *arguments)
