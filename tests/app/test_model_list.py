"""The models at hand."""

import json
import shutil

import pytest

from attnorm.app.model_list import ModelList, models_given, models_in
from attnorm.errors import UserError


def test_runs_are_found_with_what_they_are_for(runs):
    found, complaints = models_in(runs)
    assert [(m.name, m.task, m.title) for m in found] == [
        ("an", "inpainting", "an (AN)"),
        ("an-gan", "class-conditional", "an-gan (AN)"),
        ("ca", "inpainting", "ca (CA)"),
        ("tables/plain-gan", "class-conditional", "tables/plain-gan (plain)"),
    ]
    assert complaints == [] and found[1].class_names == ["cat", "<b>dog</b>", "0"]
    assert [m.has_layout for m in found] == [True, True, False, False]


def test_a_damaged_model_among_others_is_left_out_with_a_sentence(tmp_path):
    for name, text in (("broken", "{"), ("other", json.dumps({"image_size": 3}))):
        (tmp_path / name / "model").mkdir(parents=True)
        (tmp_path / name / "model" / "config.json").write_text(text)
    found, complaints = models_in(tmp_path)
    assert found == [] and "is damaged" in complaints[0]
    assert "neither a generator nor an inpainting model" in complaints[1]


def test_models_are_called_by_their_run_and_namesakes_by_their_path(runs, sentence_of, tmp_path):
    given = models_given([str(runs / "ca"), str(runs / "an" / "model"), str(runs / "ca")])
    assert [m.name for m in given] == ["ca", "an"]
    shutil.copytree(runs / "ca" / "model", tmp_path / "an" / "model")
    sources = [str(runs / "an"), str(runs / "ca"), str(tmp_path / "an")]
    assert [m.name for m in models_given(sources)] == [sources[0], "ca", sources[2]]
    assert "there is no run or model" in sentence_of(models_given, [str(tmp_path / "nothing")])


def test_one_visitor_at_a_time_and_the_next_one_after_a_failure(runs):
    model_list = ModelList(models_in(runs)[0])
    with pytest.raises(ZeroDivisionError), model_list.inpainter("an"):
        with pytest.raises(UserError, match="cancelled"):  # it waits until this visitor gives up
            model_list.inpainter("an", lambda: True).__enter__()
        raise ZeroDivisionError
    with model_list.inpainter("an", lambda: True):
        pass
    with pytest.raises(UserError, match="of the task class-conditional, not inpainting"):
        model_list.inpainter("an-gan").__enter__()
    assert [m.name for m in model_list.models("inpainting", with_layout=True)] == ["an"]
