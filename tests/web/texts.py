"""What a page of web/ says, and whether it can say it in another language."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
ATTRIBUTES = {"aria-label": "data-text-label", "placeholder": "data-text-placeholder", "content": "data-text-content"}
VOID = {"meta", "link", "input", "img", "br", "use", "path", "rect", "circle"}


def texts_of(language: str) -> dict[str, str]:
    """The texts of web/app/text/LANGUAGE.js at the top level that are fixed, by key."""
    source = (ROOT / "web" / "app" / "text" / f"{language}.js").read_text()
    return dict(re.findall(r'^  (\w+):\s+"(.*)",$', source, re.MULTILINE))


class PageTexts(HTMLParser):
    """``named``: texts by the key that the page gives them; ``unnamed``: texts without one."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.named: dict[str, str] = {}
        self.unnamed: set[str] = set()
        self._keys: list[str | None] = []
        self.feed(re.sub(r"<noscript>.*?</noscript>", "", page, flags=re.DOTALL))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        for attribute, naming in ATTRIBUTES.items():
            text, key = given.get(attribute), given.get(naming)
            if key:
                self.named[key] = text or ""
            elif text and (attribute != "content" or given.get("name") == "description"):
                self.unnamed.add(text)
        if tag not in VOID:
            self._keys.append(given.get("data-text"))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self._keys.pop()

    def handle_endtag(self, tag: str) -> None:
        self._keys.pop()

    def handle_data(self, data: str) -> None:
        text = data.strip()
        if not text:
            return
        key = self._keys[-1] if self._keys else None
        if key:
            self.named[key] = text
        else:
            self.unnamed.add(text)
