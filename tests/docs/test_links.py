"""Links between the README, the pages and the files of the repository."""

from urllib.parse import unquote, urlsplit

import pytest

from tests.docs.pages import PAGES, ROOT, anchors, links


def broken(page, text):
    """The links of a page that lead nowhere in the repository."""
    found = []
    for link in links(text):
        parts = urlsplit(link)
        if parts.scheme or parts.netloc:
            continue
        target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
        exists = target.is_relative_to(ROOT) and target.exists()
        if not exists or (
            parts.fragment and unquote(parts.fragment) not in anchors(target.read_text(encoding="utf-8"))
        ):
            found.append(link)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(page):
    assert broken(page, page.read_text(encoding="utf-8")) == []


def test_a_broken_link_is_found():
    text = "[a](docs/nothing.md) ![b](docs/images/none.png) [c](README.md#no-such) [d](LICENSE) [e](#f)\n\n# F"
    assert broken(ROOT / "README.md", text) == ["docs/nothing.md", "docs/images/none.png", "README.md#no-such", "#f"]


def test_anchors_are_githubs():
    text = "# Is the layout one?\n\n## `attnorm data`, CIFAR-10\n\n## Same\n\n## Same"
    assert anchors(text) == ["is-the-layout-one", "attnorm-data-cifar-10", "same", "same-1"]


def test_every_page_of_the_site_can_be_reached():
    """From the start page, by the lists of its navigation."""
    listed = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    for page in PAGES:
        if page.parent != ROOT and page.name != "index.md":
            name = page.relative_to(ROOT / "docs").with_suffix("").as_posix()
            assert f"\n{name}\n" in listed, f"{name} is in no list of index.md"
