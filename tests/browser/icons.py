"""Draws the PNG icons of the installed page from web/app/icon.svg: ``python -m tests.browser.icons``. They are kept in git."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from playwright.async_api import async_playwright

ROOT = Path(__file__).resolve().parent.parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from tests.browser import chromium  # noqa: E402 - run as a file, the folder of `tests` has to be found first

APP = ROOT / "web" / "app"
# A maskable icon fills its square, and what must be seen is in the middle 80 % (W3C manifest, "safe zone").
ICONS = {"icon-192": (192, False), "icon-512": (512, False), "maskable-512": (512, True)}


def page_of(svg: str, size: int, maskable: bool) -> str:
    """HTML that shows the icon in ``size`` pixels."""
    if maskable:
        svg = svg.replace('rx="17"', 'rx="0"').replace('viewBox="0 0 64 64"', 'viewBox="-8 -8 80 80"')
        svg = svg.replace('<rect width="64" height="64"', '<rect x="-8" y="-8" width="80" height="80"')
    return f"<style>body{{margin:0}}svg{{display:block;width:{size}px;height:{size}px}}</style>{svg}"


async def main() -> None:
    svg = (APP / "icon.svg").read_text()
    async with async_playwright() as playwright:
        browser = await chromium.launch(playwright)
        for name, (size, maskable) in ICONS.items():
            page = await browser.new_page(viewport={"width": size, "height": size})
            await page.set_content(page_of(svg, size, maskable))
            await page.screenshot(path=APP / "icons" / f"{name}.png", omit_background=True)
        await browser.close()


if __name__ == "__main__":
    asyncio.run(main())
