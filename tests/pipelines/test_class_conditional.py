"""A trained model in, pictures out."""

import json
import pickle
import shutil

import numpy as np
import pytest
import torch
from scipy import stats

from attnorm import pipelines
from attnorm.errors import UserError
from attnorm.models.class_conditional import Generator, GeneratorConfig, LongRangeConfig
from attnorm.pipelines.class_conditional import ClassConditionalPipeline, truncated

NAMES = ("cat", "0", "dog")  # the second one's name is the first one's index


@pytest.fixture
def pipe():
    """An untrained generator whose attentive normalization does something."""
    torch.manual_seed(0)
    spot = LongRangeConfig(kind="attentive_norm", num_entities=4, temperature=1.0)
    config = GeneratorConfig(num_classes=3, channels=(8, 8, 8, 8), latent_dim=16, long_range=spot, class_names=NAMES)
    generator = Generator(config)
    with torch.no_grad():
        generator.blocks[2].norm2.residual_gain.fill_(1)
        for module in generator.modules():
            if isinstance(module, torch.nn.Embedding):
                module.weight.add_(torch.randn_like(module.weight) / 2)  # classes look different
    return ClassConditionalPipeline(generator)


@pytest.fixture
def model(pipe, tmp_path):
    """The same, saved."""
    pipe.generator.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def largest_difference(first, second):
    return np.abs(first.astype(int) - second.astype(int)).max()


def refusal(call, *arguments, **named):
    with pytest.raises(UserError) as caught:
        call(*arguments, **named)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_run_and_its_model_folder_give_the_same_pictures(finished_run):
    from_run, from_model = (ClassConditionalPipeline.from_pretrained(p) for p in (finished_run, finished_run / "model"))
    first, second = from_run.draw(["3", 7], 4), from_model.draw(["3", 7], 4)
    assert first.images.std() > 1  # not one grey
    assert np.array_equal(first.images, second.images)
    assert first.labels == [3, 7, 3, 7]


def test_a_saved_model_draws_what_the_network_drew(pipe, model):
    loaded = ClassConditionalPipeline.from_pretrained(model)
    assert loaded.class_names == NAMES
    assert np.array_equal(loaded.draw(num_images=6).images, pipe.draw(num_images=6).images)


def test_pictures_are_the_generators_output_in_grey_levels(pipe):
    z = torch.randn(3, 16, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        raw = pipe.generator(z, torch.tensor([0, 1, 2])).double()
    expected = ((raw + 1) * 127.5).permute(0, 2, 3, 1).numpy()
    assert np.abs(pipe.draw(seed=5).images - expected).max() <= 0.5 + 1e-3


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(pipe):
    first, again, other = pipe.draw(seed=3), pipe.draw(seed=3), pipe.draw(seed=4)
    assert first.images.tobytes() == again.images.tobytes()
    assert largest_difference(first.images, other.images) > 10


def test_drawing_neither_reads_nor_moves_the_global_generator(pipe):
    torch.manual_seed(1)
    before, first = torch.get_rng_state(), pipe.draw()
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    assert np.array_equal(first.images, pipe.draw().images)


def test_more_pictures_begin_with_the_same_ones(pipe):
    """40 are more than one batch; every picture is drawn on its own."""
    many, few = pipe.draw(num_images=40).images, pipe.draw(num_images=8).images
    assert largest_difference(many[:8], few) <= 1


@pytest.mark.parametrize("size", [1, 3, 64])
def test_the_batch_size_does_not_change_the_pictures(size, pipe, monkeypatch):
    expected = pipe.draw(num_images=7, with_layouts=True)
    monkeypatch.setattr(pipelines, "BATCH", size)
    found = pipe.draw(num_images=7, with_layouts=True)
    assert largest_difference(found.images, expected.images) <= 1
    np.testing.assert_allclose(found.layouts["blocks.2.norm2"], expected.layouts["blocks.2.norm2"], rtol=0, atol=1e-5)


def test_calling_gives_pictures_of_pil(pipe):
    pictures = pipe(["dog"], 2, seed=3)
    assert [(p.mode, p.size) for p in pictures] == [("RGB", (32, 32))] * 2
    assert np.array_equal(np.stack(pictures), pipe.draw(["dog"], 2, seed=3).images)


def test_one_picture_of_each_class_by_default(pipe):
    assert pipe.draw().labels == [0, 1, 2]
    assert pipe.draw(["dog", "cat"]).labels == [2, 0]


def test_labels_take_turns(pipe):
    assert pipe.draw(["dog", "cat"], 5).labels == [2, 0, 2, 0, 2]


@pytest.mark.parametrize(
    ("label", "index"),
    [
        ("cat", 0),
        ("dog", 2),
        (2, 2),
        ("2", 2),  # no class has this name
        ("0", 1),  # a class has this name
        (0, 0),
        (np.int64(1), 1),
    ],
)
def test_a_label_is_a_name_or_an_index_and_a_name_wins(label, index, pipe):
    assert pipe.indices([label]) == [index]


def test_the_label_changes_the_picture(pipe):
    first, second = (pipe.draw([label], seed=1).images for label in ("cat", "dog"))
    assert largest_difference(first, second) > 5


def test_an_unknown_name_is_refused_with_the_nearest(pipe):
    assert refusal(pipe, ["dgo"]) == "there is no class 'dgo', did you mean 'dog'? (the model knows cat, 0, dog)"


def test_a_long_list_of_classes_is_abridged(pipe):
    pipe.class_names = tuple(f"class{i}" for i in range(1000))
    assert refusal(pipe, ["x"]).endswith("class11, … 1000 in all)")


@pytest.mark.parametrize("label", [3, -1, "3", "-1"])
def test_an_index_out_of_range_is_refused(label, pipe):
    assert "classes are 0 to 2" in refusal(pipe, [label])


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ({"labels": []}, "empty"),
        ({"num_images": 0}, "at least 1"),
        ({"num_images": -3}, "at least 1"),
        ({"seed": -1}, "seed must be"),
        ({"seed": 1 << 63}, "seed must be"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(arguments, part, pipe):
    assert part in refusal(pipe, **arguments)


def test_layouts_sum_to_one_and_differ_between_pictures(pipe):
    layouts = pipe.draw(num_images=3, with_layouts=True).layouts
    assert list(layouts) == ["blocks.2.norm2"]
    layout = layouts["blocks.2.norm2"]
    assert (layout.shape, layout.dtype) == ((3, 4, 32, 32), np.float32)
    np.testing.assert_allclose(layout.sum(1), 1, rtol=0, atol=1e-5)
    assert np.abs(layout[0] - layout[1]).max() > 0.01


def test_layouts_are_made_on_request_only_and_do_not_change_the_pictures(pipe):
    plain, with_layouts = pipe.draw(), pipe.draw(with_layouts=True)
    assert plain.layouts == {}
    assert np.array_equal(plain.images, with_layouts.images)


def test_an_interpolation_begins_and_ends_with_the_pictures_of_its_labels(pipe):
    drawn = pipe.interpolate("cat", 2, frames=5, rows=3, seed=7)
    assert drawn.images.shape == (3, 5, 32, 32, 3)
    assert drawn.labels == (0, 2)
    assert drawn.shares.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert drawn.layouts == {}
    for frame, label in ((0, "cat"), (-1, "dog")):
        assert largest_difference(drawn.images[:, frame], pipe.draw([label], 3, seed=7).images) <= 1


def test_an_interpolation_mixes_gains_and_biases_linearly(pipe):
    """A class whose tables are the mean of two others' draws the frame half way between them."""
    half_way = pipe.interpolate("cat", "dog", frames=3, rows=2, seed=1).images[:, 1]
    with torch.no_grad():
        for module in pipe.generator.modules():
            if isinstance(module, torch.nn.Embedding):
                module.weight[1] = (module.weight[0] + module.weight[2]) / 2
    assert largest_difference(half_way, pipe.draw([1], 2, seed=1).images) <= 1
    assert largest_difference(half_way, pipe.draw(["cat"], 2, seed=1).images) > 5


def test_an_interpolation_between_a_class_and_itself_stays_there(pipe):
    drawn = pipe.interpolate("dog", "dog", frames=3, rows=1)
    assert largest_difference(drawn.images[0], pipe.draw(["dog"], 1).images[[0, 0, 0]]) <= 1


def test_the_layouts_of_an_interpolation_belong_to_its_frames(pipe, monkeypatch):
    monkeypatch.setattr(pipelines, "BATCH", 4)  # a batch ends within a row
    layouts = pipe.interpolate("cat", "dog", frames=3, rows=2, seed=3, with_layouts=True).layouts
    assert list(layouts) == ["blocks.2.norm2"]
    assert layouts["blocks.2.norm2"].shape == (2, 3, 4, 32, 32)
    ends = pipe.draw(["dog"], 2, seed=3, with_layouts=True).layouts["blocks.2.norm2"]
    np.testing.assert_allclose(layouts["blocks.2.norm2"][:, -1], ends, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("named", "part"),
    [
        ({"second": "dgo"}, "there is no class 'dgo', did you mean 'dog'?"),
        ({"second": 3}, "classes are 0 to 2"),
        ({"frames": 1}, "the number of frames must be at least 2, got 1"),
        ({"rows": 0}, "the number of rows must be at least 1, got 0"),
        ({"seed": -1}, "seed must be from 0"),
    ],
)
def test_an_interpolation_that_makes_no_sense_is_refused(named, part, pipe):
    assert part in refusal(pipe.interpolate, **{"first": "cat", "second": "dog", **named})


def test_a_generator_in_training_mode_is_put_into_eval_mode(pipe):
    before = pipe.draw().images
    assert np.array_equal(ClassConditionalPipeline(pipe.generator.train()).draw().images, before)


def test_a_model_without_class_names_names_them_by_number():
    generator = Generator(GeneratorConfig(num_classes=3, channels=(8, 8, 8, 8), latent_dim=8))
    assert ClassConditionalPipeline(generator).class_names == ("0", "1", "2")


def load(source):
    return ClassConditionalPipeline.from_pretrained(source)


@pytest.mark.parametrize("share", [0, 0.001, 0.5, 0.99])
def test_truncated_weights_are_refused(share, model):
    path = model / "model.safetensors"
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    assert f"{path} is missing or damaged" in refusal(load, model)


def test_missing_weights_are_refused(model):
    (model / "model.safetensors").unlink()
    assert "model.safetensors is missing or damaged" in refusal(load, model)


def test_weights_of_another_architecture_are_refused(model):
    change_config(model, latent_dim=17)
    assert "does not hold the weights that its config.json describes" in refusal(load, model)


def test_a_pickle_is_never_read(model, tmp_path):
    made = tmp_path / "made-by-the-pickle"

    class Malice:
        def __reduce__(self):
            return made.touch, ()

    (model / "model.safetensors").unlink()
    for name in ("pytorch_model.bin", "model.safetensors"):
        (model / name).write_bytes(pickle.dumps(Malice()))
        assert "missing or damaged" in refusal(load, model)
        assert not made.exists()


def change_config(model, **changes):
    path = model / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"chanels": [8]}, "config.json: unknown field 'chanels', did you mean 'channels'?"),
        ({"channels": [10**9] * 4}, "channels must be from 1 to 16384, got 1000000000"),
        ({"channels": [8] * 20}, "channels must have 2 to 10 numbers, got 20"),
        ({"channels": 8}, "channels must be"),
        ({"channels": [8, 8, 8, "8"]}, "channels"),
        ({"num_classes": 10**12}, "num_classes must be from 1 to"),
        ({"latent_dim": -1}, "latent_dim must be from 1 to"),
        ({"class_names": ["one"]}, "1 class names do not fit num_classes 3"),
        ({"long_range": {"num_entities": 10**9}}, "num_entities must be from 1 to 4096"),
        ({"long_range": {"kind": "magic"}}, "long_range.kind must be one of"),
        ({"long_range": None}, "long_range"),
    ],
)
def test_a_spoilt_configuration_is_refused_before_memory_is_taken(changes, part, model, monkeypatch):
    change_config(model, **changes)
    monkeypatch.setattr(Generator, "__init__", lambda *_: pytest.fail("a network was built"))
    message = refusal(load, model)
    assert part in message
    assert str(model / "config.json") in message


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3", "\xff"])
def test_a_configuration_that_is_no_object_is_refused(text, model):
    (model / "config.json").write_text(text, encoding="latin-1")
    assert refusal(load, model).startswith(f"{model / 'config.json'} is damaged")


def test_a_folder_without_a_configuration_is_no_model(model):
    (model / "config.json").unlink()
    assert refusal(load, model) == f"{model} is neither a run nor a saved model: it has no config.json"


def test_a_run_without_a_checkpoint_yet_has_no_model(finished_run, tmp_path):
    shutil.copy(finished_run / "config.yaml", tmp_path)
    assert "has saved no model yet" in refusal(load, tmp_path)


@pytest.mark.parametrize("name", ["nothing", "./a/b", "/a/b", "nobody/nothing", "a/b/c", "a/b c", ""])
def test_what_does_not_exist_is_refused(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert refusal(load, name)  # the tests are offline: a name of the hub cannot be had either


@pytest.mark.parametrize("device", ["banana", "cuda:999"])
def test_a_device_that_is_not_there_is_refused(device, model):
    message = refusal(ClassConditionalPipeline.from_pretrained, model, device=device)
    assert message == f"PyTorch cannot use the device {device!r} here: choose cpu"


def test_the_pipeline_is_a_name_of_the_package():
    import attnorm

    assert attnorm.ClassConditionalPipeline is ClassConditionalPipeline
    with pytest.raises(AttributeError, match="no attribute 'Pipe'"):
        attnorm.Pipe  # noqa: B018


def test_a_stream_gives_the_pictures_of_draw_one_by_one(pipe, monkeypatch):
    monkeypatch.setattr("attnorm.pipelines.BATCH", 4)
    drawn, made = pipe.draw(["dog", 0], 10, seed=3), []
    pipe.generator.register_forward_hook(lambda module, args, out: made.append(len(out)))
    stream = pipe.stream(["dog", 0], 10, seed=3)
    for number, (picture, label) in enumerate(stream):
        assert label == drawn.labels[number]
        assert np.array_equal(picture, drawn.images[number])
        assert sum(made) <= number // 4 * 4 + 4  # no more is drawn than is asked for
    assert number == 9


def test_truncated_noise_is_the_quantile_of_the_cut_off_normal_distribution():
    z = torch.randn(4000, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 1.5
    for limit in (0.1, 0.7, 2.0):
        wanted = stats.truncnorm.ppf(stats.norm.cdf(z.numpy()), -limit, limit)
        assert truncated(z, limit).numpy() == pytest.approx(wanted, abs=1e-9)
    assert truncated(z, 40.0).numpy() == pytest.approx(z.numpy(), abs=1e-9)  # nothing is cut off
    assert truncated(z.float(), 0.7).dtype == torch.float32
    assert truncated(z.float(), 0.7).abs().max() <= 0.7


def test_truncation_changes_the_pictures_little_by_little(pipe):
    whole, slightly, much = (pipe.draw(["cat"], 4, truncation=limit).images for limit in (None, 4.0, 0.2))
    assert np.array_equal(whole, pipe.draw(["cat"], 4).images)
    assert np.array_equal(much[0], np.asarray(pipe(["cat"], 4, truncation=0.2)[0]))
    assert largest_difference(whole, slightly) < largest_difference(whole, much)
    assert "truncation must be positive, got 0" in refusal(pipe.draw, ["cat"], truncation=0)
