"""The checker of the built site, on small sites."""

import importlib.util

import pytest

from tests.docs.pages import ROOT

SPEC = importlib.util.spec_from_file_location("check_site", ROOT / "docs" / "check_site.py")
check_site = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(check_site)

SOUND = {
    "index.html": '<a href="sub/page.html#here">x</a> <a href="https://example.org">y</a> <img src="a.png"> '
    '<link rel="stylesheet" href="a.css"> <link rel="canonical" href="https://example.org/">',
    "sub/page.html": '<h1 id="here">h</h1> <a href="../index.html">up</a> <a href="#here">h</a>',
    "a.png": "",
    "a.css": "a { background: url(data:image/png;base64,AAAA) } b { background: url('a.png') }",
}


@pytest.fixture
def complaints(tmp_path):
    def run(**changed):
        for name, text in (SOUND | changed).items():
            path = tmp_path / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        return check_site.complaints(tmp_path)

    return run


def test_a_sound_site_has_no_complaints(complaints):
    assert complaints() == []


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("sub/page.html", "", "index.html: sub/page.html#here leads to no place on its page"),
        ("b.html", '<a href="none.html">', "b.html: none.html leads to no file"),
        ("b.html", '<img src="none.png">', "b.html: none.png leads to no file"),
        ("b.html", '<script src="https://cdn.org/x.js">', "b.html asks another host: https://cdn.org/x.js"),
        ("b.html", '<link rel="stylesheet" href="//cdn.org/x.css">', "b.html asks another host: //cdn.org/x.css"),
        ("b.html", '<p style="background: url(https://cdn.org/x)">', "b.html asks another host: https://cdn.org/x"),
        ("a.css", "@import 'https://fonts.org/f';", "a.css asks another host: https://fonts.org/f"),
        ("a.css", "p { src: url( https://fonts.org/f ) }", "a.css asks another host: https://fonts.org/f "),
    ],
)
def test_what_is_wrong_is_said(complaints, name, text, sentence):
    assert complaints(**{name: text}) == [sentence]


def test_an_empty_folder_is_no_site(tmp_path):
    assert check_site.complaints(tmp_path) == [f"{tmp_path} holds no pages"]
