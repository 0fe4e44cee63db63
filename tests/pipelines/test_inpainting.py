"""A trained inpainting model in, completed pictures out."""

import copy
import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from attnorm import memory
from attnorm.data.decode import to_uint8
from attnorm.errors import UserError
from attnorm.models.inpainting import BranchConfig, InpaintingGenerator, InpaintingGeneratorConfig
from attnorm.pipelines.inpainting import InpaintingPipeline

MODES = ("auto", "native", "crop", "resize")


def make(kind="attentive_norm", image_size=64):
    torch.manual_seed(0)
    branch = BranchConfig(kind=kind, num_entities=4, temperature=1.0)
    generator = InpaintingGenerator(InpaintingGeneratorConfig(image_size=image_size, width=4, branch=branch))
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.mul_(1.5)  # an untrained network says nearly nothing
        if generator.attentive.norm is not None:
            generator.attentive.norm.residual_gain.fill_(1)
    return InpaintingPipeline(generator)


@pytest.fixture(scope="module")
def pipe():
    return make()


def picture_and_mask(height=64, width=64, seed=0):
    random = np.random.default_rng(seed)
    picture = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
    mask = np.zeros((height, width), bool)
    mask[height // 4 : height // 2, width // 3 : width // 2] = True
    return picture, mask


def directly(pipe, picture, mask):
    """The network's composite at the picture's own size, a multiple of its stride."""
    x = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.no_grad():
        found = to_uint8(pipe.generator(x, torch.from_numpy(mask)[None, None]).refined)[0]
    return np.where(mask[..., None], found, picture)


def largest_difference(first, second):
    return np.abs(first.astype(int) - second.astype(int)).max()


def refusal(call, *arguments, **named):
    with pytest.raises(UserError) as caught:
        call(*arguments, **named)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", ["attentive_norm", "contextual_attention", "none"])
def test_native_is_the_network_on_the_whole_picture(kind):
    pipe, (picture, mask) = make(kind), picture_and_mask(64, 96)
    (found,) = pipe.complete([picture], [mask], "native")
    expected = directly(pipe, picture, mask)
    assert largest_difference(found, expected) <= 1
    assert largest_difference(found[mask], picture[mask]) > 20
    assert found[mask].std() > 1


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [(64, 64), (33, 47), (32, 130), (150, 200), (601, 40)])
def test_known_pixels_come_back_bit_for_bit_at_any_size_and_in_every_mode(pipe, mode, size):
    picture, mask = picture_and_mask(*size)
    given = picture.copy()
    (found,) = pipe.complete([picture], [mask], mode)
    assert found.shape == picture.shape and found.dtype == np.uint8
    assert np.array_equal(found[~mask], given[~mask])
    assert np.array_equal(picture, given)  # the input is left alone
    assert (found[mask] != given[mask]).mean() > 0.9


@pytest.mark.parametrize("mode", MODES)
def test_nothing_of_the_holes_content_is_seen(pipe, mode):
    picture, mask = picture_and_mask(120, 150)
    other = np.where(mask[..., None], 255 - picture, picture)
    assert np.array_equal(pipe.complete([picture], [mask], mode)[0], pipe.complete([other], [mask], mode)[0])


def test_padding_reflects_the_picture(pipe):
    picture, mask = picture_and_mask(62, 67)
    x = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 127.5 - 1
    padded = [functional.pad(t, (0, 1, 0, 2), mode="reflect") for t in (x, torch.from_numpy(mask)[None, None].float())]
    with torch.no_grad():
        expected = to_uint8(pipe.generator(*padded).refined)[0, :62, :67]
    found = pipe.complete([picture], [mask], "native")[0]
    assert largest_difference(found[mask], expected[mask]) <= 1


def test_a_crop_is_the_network_on_its_window(pipe):
    picture, mask = picture_and_mask(400, 300)
    mask[:] = False
    mask[96:112, 160:176] = True
    (window,) = pipe.plan(mask, "crop").windows
    assert window.size == (64, 64)
    expected = picture.copy()
    expected[window.slices] = directly(pipe, picture[window.slices], mask[window.slices])
    assert largest_difference(pipe.complete([picture], [mask], "crop")[0], expected) <= 1


def test_every_one_of_several_far_holes_is_filled(pipe):
    picture, mask = picture_and_mask(500, 500)
    mask[:] = False
    for top, left in ((0, 0), (480, 480), (250, 10), (30, 400)):
        mask[top : top + 20, left : left + 20] = True
    assert len(pipe.plan(mask, "crop").windows) == 4
    (found,) = pipe.complete([picture], [mask], "crop")
    for top, left in ((0, 0), (480, 480), (250, 10), (30, 400)):
        here = (slice(top, top + 20), slice(left, left + 20))
        assert (found[here] != picture[here]).mean() > 0.9


def test_resize_is_the_network_on_the_smaller_picture(pipe):
    """Of a picture made of 2 x 2 blocks, the smaller one is every second pixel."""
    small, mask = picture_and_mask(64, 48)
    large = small.repeat(2, 0).repeat(2, 1)
    (found,) = pipe.complete([large], [mask.repeat(2, 0).repeat(2, 1)], "resize")
    composite = torch.from_numpy(directly(pipe, small, mask)).permute(2, 0, 1)[None].float()
    expected = functional.interpolate(composite, scale_factor=2, mode="bicubic").clamp(0, 255).round()
    inside = mask.repeat(2, 0).repeat(2, 1)
    assert largest_difference(found[inside], expected[0].permute(1, 2, 0).numpy()[inside]) <= 2


def test_resize_leaves_small_pictures_at_their_size(pipe):
    picture, mask = picture_and_mask(40, 64)
    assert np.array_equal(pipe.complete([picture], [mask], "resize")[0], pipe.complete([picture], [mask], "native")[0])


def test_auto_is_native_up_to_512_and_crop_above(pipe):
    for size, mode in (((512, 512), "native"), ((32, 513), "crop"), ((2000, 2000), "crop")):
        assert pipe.plan(picture_and_mask(*size)[1]).mode == mode


def test_several_pictures_of_several_sizes_together_are_each_on_its_own(pipe):
    given = [picture_and_mask(*size, seed) for seed, size in enumerate([(64, 64), (64, 64), (40, 72), (64, 64)])]
    together = pipe.complete(*zip(*given, strict=True))
    for (picture, mask), found in zip(given, together, strict=True):
        assert largest_difference(found, pipe.complete([picture], [mask])[0]) <= 1


def test_pil_pictures_keep_their_mode_and_known_pixels(pipe):
    picture, mask = picture_and_mask()
    hole = Image.fromarray(np.where(mask, 200, 50).astype(np.uint8))  # not exactly 0 and 255
    image = Image.fromarray(picture)
    assert largest_difference(np.asarray(pipe(image, hole)), pipe.complete([picture], [mask])[0]) == 0
    for mode in ("L", "LA", "RGBA"):
        given = image.convert(mode)
        out = pipe(given, hole)
        assert out.mode == mode
        assert np.array_equal(np.asarray(out)[~mask], np.asarray(given)[~mask])
    assert pipe(image.convert("CMYK"), hole).mode == "RGB"


@pytest.mark.parametrize(("mode", "profile"), [("RGB", b"profile"), ("L", b"profile"), ("CMYK", None), ("RGB", None)])
def test_a_colour_profile_is_in_a_saved_picture(pipe, mode, profile):
    picture, mask = picture_and_mask()
    image = Image.fromarray(picture).convert(mode)
    image.info["icc_profile"] = b"profile" if mode == "CMYK" else profile
    file = io.BytesIO()
    pipe(image, Image.fromarray(mask)).save(file, "PNG")
    assert Image.open(file).info.get("icc_profile") == profile


def test_lists_of_pictures_share_one_mask_or_have_one_each(pipe):
    picture, mask = picture_and_mask()
    images = [Image.fromarray(picture), Image.fromarray(255 - picture)]
    holes = [Image.fromarray(mask), Image.fromarray(mask[::-1].copy())]
    for masks in (holes[0], holes):
        found = pipe(images, masks)
        each = masks if isinstance(masks, list) else [masks] * 2
        for one, image, hole in zip(found, images, each, strict=True):
            assert largest_difference(np.asarray(one), np.asarray(pipe(image, hole))) <= 1


def test_an_exif_orientation_is_applied_to_the_picture_and_its_mask_is_upright(pipe):
    picture, mask = picture_and_mask(64, 40)
    turned = Image.fromarray(np.rot90(picture).copy())  # stored lying down
    turned.getexif()[0x0112] = 6
    out = pipe(turned, Image.fromarray(mask))
    assert np.array_equal(np.asarray(out), pipe.complete([picture], [mask])[0])
    assert 0x0112 not in out.getexif()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64])
def test_tensors_come_back_as_they_came(pipe, dtype):
    picture, mask = picture_and_mask(50, 60)
    x = torch.from_numpy(picture).permute(2, 0, 1)
    x = x if dtype == torch.uint8 else (x.to(dtype) / 127.5 - 1)
    hole = torch.from_numpy(mask)
    out = pipe(x, hole)
    assert (out.dtype, out.shape) == (dtype, x.shape)
    assert torch.equal(out[:, ~hole], x[:, ~hole])
    found = pipe.complete([picture], [mask])[0]
    in_grey_levels = out if dtype == torch.uint8 else (out + 1) * 127.5
    assert np.abs(in_grey_levels.permute(1, 2, 0).numpy() - found.astype(float)).max() <= 0.51
    batch = pipe(torch.stack([x, x]), hole[None, None])
    assert torch.equal(batch[0], batch[1]) and batch.shape == (2, *x.shape)
    np.testing.assert_allclose(batch[0], out, rtol=0, atol=1 if dtype == torch.uint8 else 1e-3)


def test_a_tensors_hole_may_hold_anything(pipe):
    picture, mask = picture_and_mask(50, 60)
    x, hole = torch.from_numpy(picture).permute(2, 0, 1) / 127.5 - 1, torch.from_numpy(mask)
    spoilt = torch.where(hole, torch.nan, x)
    for mode in MODES:
        assert torch.equal(pipe(spoilt, hole, mode), pipe(x, hole, mode))


def test_mask_tensors_on_every_scale_mean_the_same(pipe):
    picture, mask = picture_and_mask()
    x, hole = torch.from_numpy(picture).permute(2, 0, 1), torch.from_numpy(mask)
    expected = pipe(x, hole)
    for same in (hole.float(), hole.byte(), hole.byte() * 255, hole.float() * 0.6, hole.byte() * 200 + 20, hole[None]):
        assert torch.equal(pipe(x, same), expected)


def test_stages_are_both_of_the_networks_pictures_and_its_layouts(pipe):
    given = [picture_and_mask(62, 64, seed) for seed in range(2)]
    pictures, masks = (np.stack(t) for t in zip(*given, strict=True))
    stages = pipe.stages(pictures, masks)
    assert stages.coarse.shape == stages.refined.shape == pictures.shape
    assert largest_difference(stages.coarse, stages.refined) > 5
    completed = np.where(masks[..., None], stages.refined, pictures)
    assert largest_difference(completed, np.stack(pipe.complete(pictures, masks))) <= 1
    assert stages.layouts["attentive.norm"].shape == (2, 4, 16, 16)
    np.testing.assert_allclose(stages.layouts["attentive.norm"].sum(1), 1, atol=1e-5)


def test_the_plan_says_how_many_pixels_go_through_the_network_at_once(pipe):
    mask = np.zeros((5000, 5000), bool)
    mask[1000:1010, 1000:1010] = True
    assert [pipe.plan(mask, mode).pixels for mode in ("native", "crop", "resize")] == [5000**2, 64**2, 64**2]


OUT_OF_MEMORY = [
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes"),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB"),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=["cpu", "cpu of Windows", "gpu"])
def test_too_little_memory_is_a_sentence(pipe, error, monkeypatch):
    def fail(*_):
        raise error

    monkeypatch.setattr(pipe.generator, "forward", fail)
    message = refusal(pipe.complete, *([t] for t in picture_and_mask()))
    assert "1 image(s) of 64×64 do not fit into memory" in message and "choose the mode crop or resize" in message


def test_a_batch_that_cannot_fit_into_memory_is_refused_before_it_runs(pipe, monkeypatch):
    monkeypatch.setattr(memory, "machine_memory", lambda: 2.5 * pipe.memory((64, 64)))
    picture, mask = picture_and_mask()
    assert len(pipe.complete([picture] * 2, [mask] * 2)) == 2
    monkeypatch.setattr(pipe.generator, "forward", None)
    message = refusal(pipe.complete, [picture] * 3, [mask] * 3)
    assert message.startswith("3 picture(s) of 64×64 would take at least") and "a smaller batch" in message


@pytest.mark.parametrize("reason", ["something else", "CUDA error: an illegal memory access was encountered"])
def test_another_error_is_itself(pipe, reason, monkeypatch):
    def break_down(*_):
        raise RuntimeError(reason)

    monkeypatch.setattr(pipe.generator, "forward", break_down)
    with pytest.raises(RuntimeError, match=reason):
        pipe.complete(*([t] for t in picture_and_mask()))


IMAGE, HOLE = (Image.fromarray(t) for t in picture_and_mask())
X = torch.zeros(3, 64, 64)
MASK = torch.from_numpy(picture_and_mask()[1])


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ((IMAGE, HOLE.resize((32, 64))), "the mask is 32×64 and the image 64×64"),
        ((IMAGE, Image.new("L", (64, 64), 127)), "marks no pixel"),
        ((IMAGE, Image.new("L", (64, 64), 128)), "marks every pixel"),
        ((IMAGE.resize((31, 64)), HOLE.resize((31, 64))), "at least 32 pixels a side, got 31×64"),
        ((IMAGE.convert("F"), HOLE), "floating-point pixels have no defined range"),
        ((IMAGE, HOLE, "magic"), "mode must be one of auto, native, crop, resize, got 'magic'"),
        ((IMAGE, MASK), "in one form"),
        (([IMAGE, IMAGE], [HOLE]), "2 pictures need one mask, or as many"),
        (("picture.png", "mask.png"), "got str"),
        ((X[:1], MASK), "must be (3, h, w) or (b, 3, h, w), got (1, 64, 64)"),
        ((X, MASK[:32]), "does not fit"),
        ((X, MASK[None, None].expand(2, 1, 64, 64)), "does not fit"),
        ((X, MASK & False), "the mask of picture 0 marks no pixel"),
        ((X, MASK | True), "the mask of picture 0 marks every pixel"),
        ((X + 2, MASK), "must be in [-1, 1]"),
        ((X * torch.nan, MASK), "must be in [-1, 1]"),
        ((X.long(), MASK), "must be uint8 or floating point"),
    ],
)
def test_what_cannot_be_completed_is_refused(pipe, arguments, part):
    assert part in refusal(pipe, *arguments)


def test_a_saved_model_completes_what_the_network_completed(pipe, tmp_path):
    pipe.generator.save_pretrained(tmp_path / "run" / "model")
    picture, mask = picture_and_mask()
    for source in (tmp_path / "run", tmp_path / "run" / "model"):
        loaded = InpaintingPipeline.from_pretrained(source)
        assert np.array_equal(loaded.complete([picture], [mask])[0], pipe.complete([picture], [mask])[0])


def test_what_is_no_inpainting_model_is_refused(finished_run, tmp_path):
    message = refusal(InpaintingPipeline.from_pretrained, finished_run)
    assert message == f"{finished_run} is a class-conditional model: draw from it with `attnorm generate`"
    assert "there is no run or model at" in refusal(InpaintingPipeline.from_pretrained, str(tmp_path / "nothing"))
    message = refusal(InpaintingPipeline.from_pretrained, finished_run, device="banana")
    assert message == "PyTorch cannot use the device 'banana' here: choose cpu"
    (tmp_path / "config.json").write_text("{")
    assert "is damaged" in refusal(InpaintingPipeline.from_pretrained, tmp_path)


def test_training_mode_does_not_change_the_pictures(pipe):
    picture, mask = picture_and_mask()
    before = pipe.complete([picture], [mask])[0]
    assert np.array_equal(
        InpaintingPipeline(copy.deepcopy(pipe.generator).train()).complete([picture], [mask])[0], before
    )


def test_the_pipeline_is_a_name_of_the_package():
    import attnorm

    assert attnorm.InpaintingPipeline is InpaintingPipeline
