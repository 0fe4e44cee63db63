"""Images of given classes from a trained generator."""

import json
import shutil

import numpy as np
import pytest
import torch
from scipy import stats

from attnorm.models.class_conditional import truncated
from attnorm.pipelines import class_conditional
from attnorm.pipelines.class_conditional import ClassConditionalPipeline
from tests import networks
from tests.runs import refusal

NAMES = ("cat", "0", "dog")  # the second one's name is the first one's index


@pytest.fixture
def pipe():
    return ClassConditionalPipeline(networks.generator(class_names=NAMES))


@pytest.fixture
def model(pipe, tmp_path):
    """The same, saved."""
    pipe.generator.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def largest_difference(first, second):
    return np.abs(first.astype(int) - second.astype(int)).max()


def test_a_run_its_model_folder_and_the_network_draw_the_same(pipe, model, finished_run):
    loaded = ClassConditionalPipeline.from_pretrained(model)
    assert loaded.class_names == NAMES
    assert np.array_equal(loaded.draw(num_images=6).images, pipe.draw(num_images=6).images)
    from_run, from_model = (ClassConditionalPipeline.from_pretrained(p) for p in (finished_run, finished_run / "model"))
    first, second = from_run.draw(["3", 7], 4), from_model.draw(["3", 7], 4)
    assert first.images.std() > 1  # not one grey
    assert np.array_equal(first.images, second.images)
    assert first.labels == [3, 7, 3, 7]


def test_images_are_the_generators_output_in_grey_levels_also_from_training_mode(pipe):
    z = torch.randn(3, 16, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        raw = pipe.generator(z, torch.tensor([0, 1, 2])).double()
    expected = ((raw + 1) * 127.5).permute(0, 2, 3, 1).numpy()
    assert np.abs(pipe.draw(seed=5).images - expected).max() <= 0.5 + 1e-3
    again = ClassConditionalPipeline(pipe.generator.train())
    assert np.abs(again.draw(seed=5).images - expected).max() <= 0.5 + 1e-3


@pytest.mark.promise
def test_the_seed_and_the_label_alone_decide_about_the_bytes(pipe):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first, other = pipe.draw(seed=3), pipe.draw(seed=4)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    assert first.images.tobytes() == pipe.draw(seed=3).images.tobytes()
    assert largest_difference(first.images, other.images) > 10
    cat, dog = (pipe.draw([label], seed=1).images for label in ("cat", "dog"))
    assert largest_difference(cat, dog) > 5


@pytest.mark.parametrize("size", [1, 3, 64])
def test_neither_the_batch_nor_the_number_of_images_changes_an_image(size, pipe, monkeypatch):
    expected = pipe.draw(num_images=9)
    monkeypatch.setattr(class_conditional, "BATCH", size)
    found = pipe.draw(num_images=7)
    assert largest_difference(found.images, expected.images[:7]) <= 1
    name = "blocks.2.norm2"
    np.testing.assert_allclose(found.layouts[name], expected.layouts[name][:7], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("labels", "count", "indices"),
    [
        (None, None, [0, 1, 2]),
        (["dog", "cat"], 5, [2, 0, 2, 0, 2]),
        (["2"], None, [2]),  # no class has this name
        (["0"], None, [1]),  # a class has this name
        ([0, np.int64(1), "dog"], None, [0, 1, 2]),
        ("cat", 2, [0, 0]),
        (np.array([2, 0]), np.int64(1), [2]),
        (torch.tensor([2, 0]), None, [2, 0]),
        (torch.tensor(1), None, [1]),
    ],
)
def test_labels_are_names_or_indices_used_in_turn(labels, count, indices, pipe):
    assert pipe.draw(labels, count).labels == indices


def test_a_call_is_typed_as_in_diffusers(pipe, tmp_path):
    drawn = pipe.draw(["cat"], 3, seed=5)
    out = pipe(labels="cat", num_images=3, generator=torch.Generator().manual_seed(5))
    assert out == out.images and len(out) == 3
    assert [(image.mode, image.size) for image in out.images] == [("RGB", (32, 32))] * 3
    assert np.array_equal(np.stack(out), drawn.images)
    as_array = pipe("cat", 3, 5, output_type="np").images
    assert as_array.dtype == np.float32 and np.array_equal(np.rint(as_array * 255), drawn.images)
    as_tensor = pipe("cat", 3, 5, output_type="pt")
    assert torch.equal(as_tensor.images, torch.from_numpy(as_array).permute(0, 3, 1, 2)) and len(as_tensor) == 3
    apart = pipe(["cat", "dog"], generator=[torch.Generator().manual_seed(seed) for seed in (5, 6)])
    assert np.array_equal(apart[0], pipe("cat", seed=5)[0]) and np.array_equal(apart[1], pipe("dog", seed=6)[0])
    pipe.save_pretrained(tmp_path / "model")
    again = ClassConditionalPipeline.from_pretrained(tmp_path / "model", torch_dtype=torch.float16).to("cpu")
    assert np.array_equal(again.to(torch.device("cpu"), torch.float32)("cat", 3, 5)[2], drawn.images[2])
    assert (again.device, again.dtype, again.class_names) == (torch.device("cpu"), torch.float32, NAMES)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_changes_images_a_little_and_no_weights(dtype, pipe, tmp_path):
    exact, half = pipe.draw(num_images=9).images, pipe.to(dtype).draw(num_images=9)
    difference = np.abs(half.images.astype(int) - exact)
    assert 0 < difference.mean() < 2 and f"cpu, {dtype}" in repr(pipe)
    assert {layout.dtype for layout in half.layouts.values()} == {np.dtype(np.float32)}
    assert {parameter.dtype for parameter in pipe.generator.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ({"labels": ["dgo"]}, "there is no class 'dgo', did you mean 'dog'? (the model knows cat, 0, dog)"),
        ({"labels": [3]}, "there is no class 3 (the model knows cat, 0, dog)"),
        ({"labels": []}, "labels and num_images must be at least one, got 0 and 0"),
        ({"labels": 3.7}, "a label must be a whole number, got 3.7"),
        ({"num_images": 0}, "num_images must be at least one, got 3 and 0"),
        ({"seed": 0.5}, "seed must be a whole number, got 0.5"),
        ({"generator": 42}, "generator must be a torch.Generator, or a list of one for each of 3 images"),
        ({"output_type": "jpg"}, "output_type must be one of pil, np, pt, got 'jpg'"),
        ({"truncation": 0}, "truncation must be positive, got 0"),
    ],
)
def test_what_cannot_be_drawn_is_refused(arguments, part, pipe):
    assert part in refusal(pipe, **arguments)


def test_an_interpolation_begins_and_ends_with_the_images_of_its_labels(pipe, monkeypatch):
    monkeypatch.setattr(class_conditional, "BATCH", 4)  # a batch ends within a row
    drawn = pipe.interpolate("cat", 2, frames=5, rows=3, seed=7)
    assert drawn.images.shape == (3, 5, 32, 32, 3)
    assert drawn.labels == [0, 2]
    for frame, label in ((0, "cat"), (-1, "dog")):
        end = pipe.draw([label], 3, seed=7)
        assert largest_difference(drawn.images[:, frame], end.images) <= 1
        [layouts], [expected] = drawn.layouts.values(), end.layouts.values()
        np.testing.assert_allclose(layouts[:, frame], expected, rtol=0, atol=1e-5)
    same = pipe.interpolate("dog", "dog", frames=3, rows=1)
    assert largest_difference(same.images[0], pipe.draw(["dog"], 1).images[[0, 0, 0]]) <= 1


def test_an_interpolation_mixes_gains_and_biases_linearly(pipe):
    """A class whose tables are the mean of two others' draws the frame half way between them."""
    half_way = pipe.interpolate("cat", "dog", frames=3, rows=2, seed=1).images[:, 1]
    with torch.no_grad():
        for module in pipe.generator.modules():
            if isinstance(module, torch.nn.Embedding):
                module.weight[1] = (module.weight[0] + module.weight[2]) / 2
    assert largest_difference(half_way, pipe.draw([1], 2, seed=1).images) <= 1
    assert largest_difference(half_way, pipe.draw(["cat"], 2, seed=1).images) > 5


def test_truncated_noise_is_the_quantile_of_the_cut_off_normal_distribution(pipe):
    z = torch.randn(4000, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 1.5
    for limit in (0.1, 0.7, 2.0):
        expected = stats.truncnorm.ppf(stats.norm.cdf(z.numpy()), -limit, limit)
        assert truncated(z, limit).numpy() == pytest.approx(expected, abs=1e-9)
    assert truncated(z, 40.0).numpy() == pytest.approx(z.numpy(), abs=1e-9)  # nothing is cut off
    assert truncated(z.float(), 0.7).dtype == torch.float32
    assert truncated(z.float(), 0.7).abs().max() <= 0.7
    whole, slightly, much = (pipe.draw(["cat"], 4, truncation=limit).images for limit in (None, 4.0, 0.2))
    assert largest_difference(whole, slightly) < largest_difference(whole, much)


load = ClassConditionalPipeline.from_pretrained


@pytest.mark.promise
def test_damaged_missing_and_other_weights_are_refused(model):
    path = model / "model.safetensors"
    whole = path.read_bytes()
    config = model / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"latent_dim": 17}))
    assert "does not have the weights that its config.json describes" in refusal(load, model)
    for share in (0, 0.5, 0.99):
        path.write_bytes(whole[: int(len(whole) * share)])
        assert f"{path} is missing or damaged" in refusal(load, model)
    path.unlink()
    assert f"{path} is missing or damaged" in refusal(load, model)


def test_what_is_no_model_is_refused(finished_run, finished_inpainting_run, tmp_path):
    shutil.copy(finished_run / "config.yaml", tmp_path)
    assert "has saved no model yet" in refusal(load, tmp_path)
    assert refusal(load, finished_inpainting_run).endswith("`attnorm inpaint`: only class-conditional models work here")
    assert "cannot use the device 'cuda:999' here: choose cpu" in refusal(load, finished_run, device="cuda:999")
    assert refusal(load, finished_run, torch_dtype=torch.float64).endswith("not in torch.float64")
