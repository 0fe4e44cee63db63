"""What the models draw for the page."""

import re

import numpy as np
import pytest

from attnorm.app import drawing
from attnorm.app.images import as_file_name, legend
from attnorm.pipelines import ClassConditionalPipeline
from attnorm.pipelines.inpainting import InpaintingPipeline
from attnorm.plots import colour_layout, entity_colours


@pytest.fixture(scope="module")
def generator(runs):
    return ClassConditionalPipeline.from_pretrained(runs / "an-gan")


@pytest.fixture(scope="module")
def plain(runs):
    return ClassConditionalPipeline.from_pretrained(runs / "tables" / "plain-gan")


def test_images_of_each_class_with_their_layouts(generator):
    drawn = drawing.draw(generator, ["cat", "0"], 2, 5, drawing.NO_TRUNCATION, layouts=True)
    assert drawn.labels == [0, 0, 2, 2]
    assert np.array_equal(drawn.images, generator.draw([0, 0, 2, 2], seed=5).images)
    html = drawing.shown(drawn, generator.class_names)
    assert re.findall("<figcaption>(.*?)</figcaption>", html) == ["cat", "cat", "0", "0"]
    assert html.count("<img") == 8
    plain = drawing.draw(generator, ["<b>dog</b>"], 1, 0, drawing.NO_TRUNCATION, layouts=False)
    html = drawing.shown(plain, generator.class_names)
    assert html.count("<img") == 1 and "&lt;b&gt;dog&lt;/b&gt;" in html  # a name is no HTML


def test_the_sheet_holds_every_image_and_layout(generator):
    drawn = drawing.draw(generator, ["cat", "0"], 3, 0, 2, layouts=True)
    sheet = drawing.sheet(drawn, generator.class_names, 3)[8:]
    layouts = next(iter(drawn.layouts.values()))
    for index, (image, layout) in enumerate(zip(drawn.images, layouts, strict=True)):
        row, column = divmod(index, 3)
        at, left = row * 260, sheet.shape[1] - 8 - (3 - column) * 130 + 2
        assert np.array_equal(sheet[at : at + 128, left : left + 128], image.repeat(4, 0).repeat(4, 1))
        colours = np.asarray(colour_layout(layout)).repeat(32 // layout.shape[1], 0).repeat(32 // layout.shape[2], 1)
        assert np.array_equal(sheet[at + 130 : at + 258, left : left + 128][::4, ::4], colours)


def test_truncation_changes_the_images_and_a_model_without_layout_draws(generator, plain):
    whole, cut = (drawing.draw(generator, ["cat"], 2, 0, limit, layouts=False) for limit in (2.0, 0.1))
    assert not np.array_equal(whole.images, cut.images)
    drawn = drawing.draw(plain, ["cat"], 2, 0, 2.0, layouts=True)
    assert drawing.shown(drawn, plain.class_names).count("<img") == 2
    assert drawing.sheet(drawn, plain.class_names, 2).ndim == 3


def test_mistakes_are_told_in_a_sentence(generator, sentence_of):
    assert "choose at least one class" in sentence_of(drawing.draw, generator, [], 1, 0, 2, False)
    assert "are 65: the page draws 1 to 64" in sentence_of(drawing.draw, generator, ["cat"], 65, 0, 2, False)
    assert "there is no class 'cow'" in sentence_of(drawing.draw, generator, ["cow"], 1, 0, 2, False)
    assert "seed must be" in sentence_of(drawing.draw, generator, ["cat"], 1, -1, 2, False)


def test_a_film_goes_from_one_class_to_the_other(generator, plain):
    frames, entity = drawing.film(generator, "cat", "0", 2, 0)
    assert len(frames) == drawing.FRAMES
    assert len({frame.shape for frame in frames}) == 1
    assert entity in range(4)
    assert not np.array_equal(frames[0], frames[-1])
    assert drawing.film(plain, "cat", "0", 1, 0)[1] is None


def test_the_layer_is_seen_with_its_statistics(runs, noise):
    pipe = InpaintingPipeline.from_pretrained(runs / "an")
    layout, regions, report = drawing.view_layer(pipe, noise(64, 48))
    assert layout.shape == (4, 16, 12)
    assert regions.share.tolist() == pytest.approx([(layout.argmax(0) == entity).mean() for entity in range(4)])
    assert "from 0.25 (all 4 entities alike) to 1" in report
    html, peak = drawing.maps(layout)
    assert peak == layout.max()
    assert html.count("<img") == 4
    table = drawing.table(regions)
    assert re.findall('<th scope="row">(.*?)</th>', table) == ["whole map", "0", "1", "2", "3"]
    assert "<td>1.000</td>" in table


def test_a_legend_names_the_entities_by_their_share():
    layout = np.zeros((4, 2, 4))
    layout[2, :, :3], layout[0, :, 3] = 1, 1
    html = legend(layout)
    assert re.findall(r"</i>(\d)<b>(\d+%)</b>", html) == [("2", "75%"), ("0", "25%")]
    assert "2 without a pixel" in html
    assert "rgb({},{},{})".format(*entity_colours(3)[2]) in html


def test_no_file_name_is_a_path():
    assert as_file_name("../tables/an-gan") == "tables-an-gan"
    assert [as_file_name(name) for name in ("a photo (1)", "...", "Fassade ä")] == ["a-photo-1", "image", "Fassade-ä"]
