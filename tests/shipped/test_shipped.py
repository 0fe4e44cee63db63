"""The trained models that come with the package."""

import numpy as np
import pytest
from huggingface_hub import ModelCard
from PIL import Image

from attnorm.hub.package import MAX_CLASSES, PER_CLASS
from attnorm.models.pretrained import task_of
from attnorm.pipelines import ClassConditionalPipeline
from attnorm.pipelines.inpainting import InpaintingPipeline
from attnorm.plots.grids import enlarge, names_width
from attnorm.shipped import shipped_models

NAMES = sorted(shipped_models())
GENERATORS = [name for name in NAMES if task_of(name) == "class-conditional"]
INPAINTERS = [name for name in NAMES if task_of(name) == "inpainting"]


def test_they_are_all_there_and_small():
    assert NAMES == ["an-gan-cifar10", "an-gan-digits", "an-inpaint-facades"]
    sizes = [sum(file.stat().st_size for file in folder.iterdir()) for folder in shipped_models().values()]
    assert max(sizes) <= 12e6 and sum(sizes) <= 40e6  # bytes


@pytest.mark.parametrize("name", GENERATORS)
def test_the_images_of_the_card_are_the_models(name):
    """So the weights, the moments and the sheet belong together."""
    pipe = ClassConditionalPipeline.from_pretrained(name)
    shown = pipe.class_names[:MAX_CLASSES]
    images = enlarge(pipe.draw([label for label in range(len(shown)) for _ in range(PER_CLASS)], seed=0).images)
    with Image.open(shipped_models()[name] / "samples.png") as file:
        sheet = np.asarray(file.convert("RGB"))
    height, width = images.shape[1:3]
    for index, image in enumerate(images):
        row, column = divmod(index, PER_CLASS)
        top, left = row * (height + 2), names_width(shown) + column * (width + 2)
        tile = sheet[top : top + height, left : left + width].astype(int)
        assert np.abs(tile - image).max() <= 2  # other processors round otherwise


@pytest.mark.parametrize("name", INPAINTERS)
def test_an_inpainter_completes_an_image_and_leaves_what_is_known(name):
    pipe = InpaintingPipeline.from_pretrained(name)
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    mask = np.zeros((64, 64), bool)
    mask[20:40, 20:40] = True
    [completed] = pipe.complete([image], [mask])
    assert np.array_equal(completed[~mask], image[~mask])


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
    for heading in ("Usage", "Training data", "Training", "Metrics", "Limitations", "License"):
        assert f"\n## {heading}\n" in card.text
    assert "attnorm train " in card.text
    assert "License of the images: " in card.text
    for line in card.text.splitlines():
        if line.startswith("!["):
            assert (folder / line.partition("](")[2].rstrip(")")).is_file()
