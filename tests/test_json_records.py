"""JSON that somebody or a crash has spoilt is one error, whatever is wrong with it."""

import math

import pytest

from attnorm.json_records import DEEPEST, LARGEST_STEP, check_texts, figure_of, is_step, parse_json, read_json
from attnorm.training.config import LARGEST_STEPS

SPOILT = [
    "",
    "{",
    '{"a": 1',
    "1" + "0" * 400,
    "-1" + "0" * 400,
    "1" * 5000,
    "[" * 100_000,
    "[" * 500 + "]" * 500,
    '{"a":' * 200 + "1" + "}" * 200,
]


@pytest.mark.parametrize("text", SPOILT, ids=lambda text: text[:8])
def test_what_is_no_json_or_beyond_measure_is_a_value_error(text, tmp_path):
    (tmp_path / "a.json").write_text(text)
    for read, given in ((parse_json, text), (parse_json, text.encode()), (read_json, tmp_path / "a.json")):
        with pytest.raises(ValueError):
            read(given)


def test_text_in_another_encoding_is_a_value_error(tmp_path):
    (tmp_path / "a.json").write_bytes(b'{"caf\xe9": 1}')
    with pytest.raises(ValueError, match="utf-8"):
        read_json(tmp_path / "a.json")


def test_what_is_json_is_read(tmp_path):
    deepest = "[" * DEEPEST + "1" + "]" * DEEPEST
    (tmp_path / "a.json").write_text(f'[{{"é": -3, "b": 1.5, "c": null}}, 1{"0" * 300}]', "utf-8")
    assert read_json(tmp_path / "a.json") == [{"é": -3, "b": 1.5, "c": None}, 10**300]
    assert parse_json(deepest.encode())


def test_a_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "none.json")


def test_null_is_the_figure_that_was_not_finite():
    assert (figure_of(3), figure_of(0.5)) == (3.0, 0.5)
    assert math.isnan(figure_of(None))
    for value in ("high", "3", True, [1.0], {}):
        with pytest.raises(TypeError, match="is no figure"):
            figure_of(value)


def test_a_step_is_a_whole_number_that_a_run_can_have():
    assert LARGEST_STEP == LARGEST_STEPS
    assert is_step(0) and is_step(LARGEST_STEP)
    for value in (-1, LARGEST_STEP + 1, 1.0, True, None, "1", math.inf):
        assert not is_step(value)


@pytest.mark.parametrize("bad", ["a\0", "\ud800"])
def test_texts_that_no_file_can_be_named_by_are_found_wherever_they_are(bad):
    check_texts({"a": ["é", {"b": None}], "c": 1})
    for value in (bad, [bad], {bad: 1}, {"a": [1, {"b": bad}]}):
        with pytest.raises(ValueError):
            check_texts(value)
