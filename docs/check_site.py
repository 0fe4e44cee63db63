"""Checks the built site: every link has a target, and no page loads anything from another host.

python docs/check_site.py build/site
"""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

# What a browser loads without a click.
FETCHED = {("script", "src"), ("img", "src"), ("iframe", "src"), ("source", "src"), ("video", "src"), ("link", "href")}
NOT_FETCHED = {"canonical", "next", "prev", "index", "search", "author"}  # kinds of <link>


class Page(HTMLParser):
    """The anchors of a page, its links, and what a browser loads for it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = {""}
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attributes}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        for name, value in values.items():
            if (tag, name) in FETCHED and values.get("rel", "") not in NOT_FETCHED:
                self.fetched.append(value)
            elif name in ("href", "src"):
                self.links.append(value)
        if "style" in values:
            self.fetched += addresses_in_styles(values["style"])


def addresses_in_styles(text: str) -> list[str]:
    """What a style sheet loads."""
    found = re.findall(r"""url\(\s*["']?([^"')]+)|@import\s+["']([^"']+)""", text)
    return [first or second for first, second in found]


def problems(site: Path) -> list[str]:
    """A sentence for each broken link and each request to another host."""
    pages = {path.resolve(): Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}
    found = [f"{site} has no pages"] if not pages else []
    for path, page in pages.items():
        name = path.relative_to(site.resolve())
        found += [f"{name} loads from another host: {address}" for address in page.fetched if urlsplit(address).netloc]
        for link in [*page.links, *page.fetched]:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.is_file():
                found.append(f"{name}: {link} is a broken link")
            elif target in pages and unquote(parts.fragment) not in pages[target].anchors:
                found.append(f"{name}: {link} names no heading")
    for path in sorted(site.rglob("*.css")):
        addresses = addresses_in_styles(path.read_text(encoding="utf-8"))
        found += [f"{path.relative_to(site)} loads from another host: {a}" for a in addresses if urlsplit(a).netloc]
    return found


if __name__ == "__main__":
    wrong = problems(Path(sys.argv[1]))
    print("\n".join(wrong) or f"{sys.argv[1]}: every link has a target, and nothing is loaded from another host")
    sys.exit(bool(wrong))
