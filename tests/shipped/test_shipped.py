"""The trained models that come with the package."""

import numpy as np
import pytest
from huggingface_hub import ModelCard
from PIL import Image

from attnorm.errors import UserError
from attnorm.inpainting_pipeline import InpaintingPipeline
from attnorm.models.class_conditional import Generator
from attnorm.models.saved import task_of
from attnorm.pipelines import ClassConditionalPipeline
from attnorm.plots.grids import enlarge, names_width
from attnorm.publishing.samples import MOST_CLASSES, PER_CLASS, generator_pictures
from attnorm.shipped import shipped_model, shipped_models

LARGEST, LARGEST_IN_ALL = 12e6, 40e6  # bytes


NAMES = sorted(shipped_models())
GENERATORS = [name for name in NAMES if task_of(name) == "class-conditional"]
INPAINTERS = [name for name in NAMES if task_of(name) == "inpainting"]


def test_all_models_come_with_the_package():
    assert GENERATORS == ["an-gan-cifar10", "an-gan-digits"]
    assert INPAINTERS == ["an-inpaint-facades"]


def test_they_are_small():
    sizes = {name: sum(p.stat().st_size for p in folder.iterdir()) for name, folder in shipped_models().items()}
    assert max(sizes.values()) <= LARGEST
    assert sum(sizes.values()) <= LARGEST_IN_ALL


@pytest.mark.parametrize("name", GENERATORS)
def test_a_generator_draws_the_same_pictures_twice_and_other_ones_for_another_seed(name):
    first, again = (ClassConditionalPipeline.from_pretrained(name).draw(num_images=4, seed=3) for _ in range(2))
    other = ClassConditionalPipeline.from_pretrained(name).draw(num_images=4, seed=4)
    assert first.pictures.tobytes() == again.pictures.tobytes()
    assert np.abs(first.pictures.astype(int) - other.pictures).mean() > 5


@pytest.mark.parametrize("name", GENERATORS)
def test_the_pictures_of_the_card_are_the_models(name):
    """So the weights, the moments and the sheet belong together."""
    pipe = ClassConditionalPipeline.from_pretrained(name)
    pictures = enlarge(generator_pictures(pipe))
    with Image.open(shipped_models()[name] / "samples.png") as image:
        sheet = np.asarray(image.convert("RGB"))
    shown = pipe.class_names[:MOST_CLASSES]
    height, width = pictures.shape[1:3]
    for index, picture in enumerate(pictures):
        row, column = divmod(index, PER_CLASS)
        top, left = row * (height + 2), names_width(shown) + column * (width + 2)
        tile = sheet[top : top + height, left : left + width].astype(int)
        assert np.abs(tile - picture).max() <= 2  # other processors round otherwise


@pytest.mark.parametrize("name", INPAINTERS)
def test_an_inpainter_completes_a_picture_and_leaves_what_is_known(name):
    pipe = InpaintingPipeline.from_pretrained(name)
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    hole = np.zeros((64, 64), bool)
    hole[20:40, 20:40] = True
    first, again = (pipe.fill([picture], [hole])[0] for _ in range(2))
    assert np.array_equal(first, again)
    assert np.array_equal(first[~hole], picture[~hole])


@pytest.mark.parametrize("name", NAMES)
def test_its_card_says_what_a_user_has_to_know(name):
    folder = shipped_models()[name]
    card = ModelCard.load(folder / "README.md")
    data = card.data
    assert data.library_name == "attnorm"
    assert data.pipeline_tag == ("image-to-image" if name in INPAINTERS else "unconditional-image-generation")
    assert data.license and data.datasets
    assert data.eval_results, "it was measured"
    for result in data.eval_results:
        assert {"seed", "step", "weights"} <= set(result.metric_args)
    for heading in ("Use", "Data", "Training", "Figures", "Limits", "Licence"):
        assert f"\n## {heading}\n" in card.text
    assert "attnorm train " in card.text
    assert "Licence of the pictures: " in card.text
    for place in ("/work", "/tmp", "/home"):
        assert place not in card.content
    for line in card.text.splitlines():
        if line.startswith("!["):
            assert (folder / line.partition("](")[2].rstrip(")")).is_file()


def test_a_name_finds_the_folder_and_a_path_goes_before_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert shipped_model("an-gan-digits") == shipped_models()["an-gan-digits"]
    assert shipped_model("an-gan") is None
    (tmp_path / "an-gan-digits").mkdir()
    assert shipped_model("an-gan-digits") is None
    with pytest.raises(UserError, match="neither a run nor a saved model"):
        ClassConditionalPipeline.from_pretrained("an-gan-digits")


def test_the_network_itself_is_found_by_name_too():
    network = Generator.from_pretrained("an-gan-digits")
    assert network.config.class_names == tuple("0123456789")


def test_a_misspelt_name_is_refused_with_the_nearest():
    with pytest.raises(UserError, match="did you mean 'an-gan-digits'"):
        ClassConditionalPipeline.from_pretrained("an-gan-digitz")


def test_a_generator_is_no_inpainter():
    with pytest.raises(UserError, match="class-conditional model"):
        InpaintingPipeline.from_pretrained("an-gan-digits")
