"""The page for people who use a keyboard, a screen reader, or need contrast and calm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page

from tests.browser.chromium import ChromiumPage
from tests.browser.conftest import Opener
from tests.browser.crowd import crowd, mute
from tests.browser.person import Person
from tests.server import RunningServer

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

AXE = Path(__file__).resolve().parents[2] / ".tools" / "node_modules" / "axe-core" / "axe.min.js"
# All rules of WCAG 2.2 A and AA and axe's best practices; transitions would be caught half-way.
RUN = """axe.run(document, { resultTypes: ["violations"] }).then(({ violations }) =>
  violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ target, failureSummary }) => `${target} ${failureSummary}`).join("; ")}`))"""
FOCUSED = """(() => {
  const { activeElement: it } = document;
  const style = getComputedStyle(it);
  return { name: it.ariaLabel ?? it.labels?.[0]?.innerText ?? it.innerText, outline: style.outlineStyle, width: style.outlineWidth };
})()"""


def tab(person: Person) -> Page:
    assert isinstance(person.page, ChromiumPage)
    return person.page.page


async def assert_accessible(person: Person, state: str) -> None:
    """Let axe-core look at the page as it is, light and dark."""
    assert AXE.exists(), "axe-core is missing: make lint installs it"
    page = tab(person)
    if not await person.page.evaluate("'axe' in window"):
        await person.page.evaluate(AXE.read_text() + "; true")
    for scheme in ("light", "dark"):
        await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        found = await person.page.evaluate(RUN)
        assert found == [], f"{state}, {scheme}"


async def test_axe_finds_nothing_on_the_start_page(visit: Opener) -> None:
    ann = await visit(before="navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('', 'NotAllowedError'); }")
    await assert_accessible(ann, "start")
    await ann.page.click("Request Microphone Access")
    await ann.wait_alert("microphone")
    await ann.connect("Ann")
    await assert_accessible(ann, "connected, microphone refused")
    await ann.page.click("Settings")
    await assert_accessible(ann, "settings without devices")


async def test_axe_finds_nothing_in_a_call(visit: Opener, server: RunningServer) -> None:
    ann, bo = await visit(), await visit()
    await ann.connect("Ann")
    await ann.give_microphone()
    room = await ann.create_room()
    await assert_accessible(ann, "alone")
    await bo.connect("Bo")
    await bo.give_microphone()
    await bo.join_room(room)
    await ann.assert_hears("Bo")
    async with crowd(server.ws_url, room, ["Cleo"]) as (cleo,):
        await mute(cleo)
        await ann.page.click("Mute")
        await ann.page.click("Show detailed statistics")
        await ann.page.wait("document.querySelector('#connections canvas') !== null", for_="charts")
        await assert_accessible(ann, "muted, with statistics")
        await ann.page.click("Options for Bo")
        await assert_accessible(ann, "a person's menu")
        await ann.page.click("Close")
        await ann.page.click("Settings")
        await assert_accessible(ann, "settings")
        await ann.page.click("Done")
        await tab(ann).set_viewport_size({"width": 360, "height": 740})
        await assert_accessible(ann, "phone")


async def tabbed(person: Person, stops: int) -> list[dict[str, Any]]:
    """What has the focus after each press of Tab."""
    found = []
    for _ in range(stops):
        await tab(person).keyboard.press("Tab")
        found.append(await person.page.evaluate(FOCUSED))
    return found


async def test_everything_can_be_reached_and_done_by_keyboard(visit: Opener, server: RunningServer) -> None:
    ann = await visit()
    keyboard = tab(ann).keyboard
    await tab(ann).get_by_role("textbox", name="Username").focus()
    await keyboard.type("Ann")
    await keyboard.press("Enter")
    await ann.wait_status("Connected")
    await ann.page.wait("document.activeElement.id === 'create-room'", for_="the focus on what comes next")
    await keyboard.press("Shift+Tab")
    await keyboard.press("Enter")
    await ann.page.wait("!document.getElementById('microphone-live').hidden", for_="the microphone")
    await tab(ann).get_by_role("button", name="Create New Room").focus()
    await keyboard.press("Enter")
    await ann.wait_status("In room")
    room = str(await ann.page.evaluate("antiphon.client.room.id"))
    assert await ann.page.evaluate("document.activeElement.id") == "room-heading"
    async with crowd(server.ws_url, room, ["Bo"]):
        await ann.wait_people("Ann", "Bo")
        stops = await tabbed(ann, 7)
        assert [stop["name"].strip() for stop in stops[1:4]] == ["Options for Bo", "Show detailed statistics", "Mute"]
        assert {stop["name"].split("\n")[0].strip() for stop in stops} >= {"Copy Room Link", "Deafen", "Settings", "Leave Room"}
        assert all(stop["outline"] == "solid" and stop["width"] == "3px" for stop in stops), stops
        await tab(ann).get_by_role("button", name="Options for Bo").focus()
        await keyboard.press("Enter")
        await ann.page.wait("document.activeElement.id === 'person-volume'", for_="the focus in the menu")
        await keyboard.press("Escape")
        await ann.page.wait("document.activeElement.ariaLabel === 'Options for Bo'", for_="the focus where it was")
    await tab(ann).get_by_role("button", name="Settings").focus()
    await keyboard.press("Enter")
    await ann.page.wait("document.getElementById('settings').contains(document.activeElement)", for_="the focus in the dialog")
    await keyboard.press("Escape")
    await ann.page.wait("document.activeElement.dataset.opens === 'settings'", for_="the focus where it was")
    await tab(ann).get_by_role("button", name="Leave Room").focus()
    await keyboard.press("Enter")
    await ann.wait_status("Connected")
    assert await ann.page.evaluate("document.activeElement.id") == "lobby-heading"


async def test_nothing_moves_for_those_who_want_calm(visit: Opener) -> None:
    ann = await visit(reduced_motion="reduce")
    await ann.connect("Ann")
    await ann.page.evaluate("(document.getElementById('status').dataset.state = 'reconnecting')")
    await ann.create_room()
    await ann.page.click("Copy Room Link")
    assert await ann.page.evaluate("document.getAnimations().length") == 0
