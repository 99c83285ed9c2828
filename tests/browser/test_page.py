"""What people do with the page in a call, and what it shows and says of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from playwright.async_api import Page

from tests.browser.chromium import ChromiumPage
from tests.browser.conftest import Opener
from tests.browser.crowd import crowd, mute
from tests.browser.person import Person
from tests.server import RunningServer

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True}
RECORD_TONES = """
window.tones = 0;
const start = OscillatorNode.prototype.start;
OscillatorNode.prototype.start = function (...when) { window.tones += 1; return start.apply(this, when); };
"""
RECORD_WAKE_LOCK = """
window.locks = [];
navigator.wakeLock.request = async (kind) => {
  window.locks.push(kind);
  return { release: async () => void window.locks.push("released") };
};
"""
SHARE = "navigator.share = async (shared) => void (window.shared = shared);"
MUTED = "antiphon.client.muted"
PLAYED = "document.querySelector('#sounds audio')"
SAID = "document.getElementById('announcer').innerText + document.getElementById('toast').innerText"
OVERFLOW = "document.documentElement.scrollWidth > document.documentElement.clientWidth"


def tab(person: Person) -> Page:
    assert isinstance(person.page, ChromiumPage)
    return person.page.page


async def in_room(person: Person, name: str = "Ann") -> str:
    await person.connect(name)
    await person.give_microphone()
    room = await person.create_room()
    await person.page.wait("antiphon.client.room.local.publishing", for_="the microphone to be heard")
    return room


async def a_call(visit: Opener, **options: object) -> tuple[Person, Person]:
    """Ann and Bo hear each other."""
    ann, bo = await visit(**options), await visit()
    room = await in_room(ann)
    await bo.connect("Bo")
    await bo.give_microphone()
    await bo.join_room(room)
    await ann.assert_hears("Bo")
    return ann, bo


async def wait_said(person: Person, words: str) -> None:
    """Wait until a screen reader is told."""
    await person.page.wait(f"({SAID}).includes({words!r})", for_=f"{words!r} to be said")


async def test_the_name_and_the_settings_are_remembered(visit: Opener) -> None:
    ann = await visit()
    await ann.connect("Ann")
    await ann.page.click("Settings")
    await tab(ann).get_by_role("switch", name="Sounds for join and leave", exact=True).uncheck()
    await ann.page.click("Done")
    await tab(ann).reload()
    await ann.page.wait("document.getElementById('username').value === 'Ann'", for_="the name")
    await ann.page.click("Settings")
    assert not await tab(ann).get_by_role("switch", name="Sounds for join and leave", exact=True).is_checked()
    assert await tab(ann).get_by_role("switch", name="Echo cancellation", exact=True).is_checked()


async def test_m_mutes_and_space_talks_while_it_is_held(visit: Opener) -> None:
    ann = await visit()
    await in_room(ann)
    keyboard = tab(ann).keyboard
    await keyboard.press("m")
    await ann.page.wait(MUTED, for_="muted")
    assert await ann.page.can_see("button", "Unmute")
    await wait_said(ann, "You are muted")
    await keyboard.down("Space")
    await ann.page.wait(f"!{MUTED}", for_="talking")
    assert await ann.page.can_see("button", "Mute")
    await keyboard.up("Space")
    await ann.page.wait(MUTED, for_="muted again")
    # A button that was clicked keeps the focus; Space is for talking all the same.
    await ann.page.click("Unmute")
    await ann.page.click("Mute")
    await keyboard.down("Space")
    await ann.page.wait(f"!{MUTED}", for_="talking")
    await keyboard.up("Space")
    await ann.page.wait(MUTED, for_="muted again")


async def test_keys_belong_to_what_has_the_focus(visit: Opener) -> None:
    ann = await visit()
    await in_room(ann)
    keyboard = tab(ann).keyboard
    await ann.page.click("Mute")
    while await ann.page.evaluate("document.activeElement.id") != "deafen":
        await keyboard.press("Tab")
    await keyboard.press("Space")
    await ann.page.wait(
        "document.getElementById('deafen').innerText.includes('Undeafen')", for_="the button that has the focus to be pressed"
    )
    await keyboard.press("Space")
    await ann.page.wait("!document.getElementById('deafen').innerText.includes('Undeafen')", for_="hearing again")
    await ann.page.click("Settings")
    await tab(ann).get_by_role("combobox", name="Microphone", exact=True).focus()
    await keyboard.press("m")
    await ann.page.click("Done")
    assert await ann.page.evaluate(MUTED)


async def test_deafened_hears_nobody_and_is_not_heard(visit: Opener) -> None:
    ann, bo = await a_call(visit)
    await tab(ann).keyboard.press("d")
    await ann.page.wait(f"{PLAYED}.muted && {MUTED}", for_="deafened")
    await bo.wait_people("Muted", "Microphone on")
    await wait_said(ann, "You hear nobody")
    assert await ann.page.evaluate("document.title") == "Deafened · 2 people · Antiphon"
    await ann.page.click("Undeafen")
    await ann.page.wait(f"!{PLAYED}.muted && !{MUTED}", for_="hearing")
    await bo.wait_people("Microphone on", "Microphone on")


async def test_each_person_has_a_volume_that_stays_for_the_call(visit: Opener) -> None:
    ann, bo = await a_call(visit)
    await ann.page.click("Options for Bo")
    slider = tab(ann).get_by_role("slider", name="Volume of Bo", exact=True)
    await slider.press("Home")
    await slider.press("ArrowRight")
    await ann.page.wait(f"{PLAYED}.volume === 0.05", for_="the volume")
    await tab(ann).keyboard.press("Escape")
    await bo.page.evaluate("antiphon.client.unpublish()")
    await ann.wait_people("Microphone on", "Listening only")
    await bo.page.evaluate("(async () => antiphon.client.publish(await navigator.mediaDevices.getUserMedia({ audio: true })))()")
    await ann.wait_people("Microphone on", "Microphone on")
    assert await ann.page.evaluate(f"{PLAYED}.volume") == 0.05


async def test_mute_for_me_silences_one_person_for_one_listener(visit: Opener) -> None:
    ann, bo = await a_call(visit)
    await ann.page.click("Options for Bo")
    await tab(ann).get_by_role("switch", name="Mute for me", exact=True).click()
    await ann.page.click("Close")
    await ann.wait_people("Microphone on", "Muted for you")
    await bo.wait_people("Microphone on", "Microphone on")
    await ann.assert_silence_from("Bo")
    await ann.page.click("Options for Bo")
    await tab(ann).get_by_role("switch", name="Mute for me", exact=True).click()
    await ann.page.click("Close")
    await ann.assert_hears("Bo")
    assert not await ann.page.evaluate(f"{PLAYED}.muted")


async def test_coming_and_going_is_heard_and_said_unless_switched_off(visit: Opener, server: RunningServer) -> None:
    ann = await visit(before=RECORD_TONES)
    room = await in_room(ann)
    async with crowd(server.ws_url, room, ["Bo"]) as (bo,):
        await wait_said(ann, "Bo joined")
        await ann.page.wait("window.tones === 2", for_="a tone")
        await mute(bo)
        await wait_said(ann, "Bo is muted")
    await wait_said(ann, "Bo left")
    await ann.page.wait("window.tones === 4", for_="another tone")
    await ann.page.click("Settings")
    await tab(ann).get_by_role("switch", name="Sounds for join and leave", exact=True).uncheck()
    await ann.page.click("Done")
    async with crowd(server.ws_url, room, ["Cleo"]):
        await wait_said(ann, "Cleo joined")
    assert await ann.page.evaluate("window.tones") == 4


async def test_the_title_and_the_wake_lock_follow_the_call(visit: Opener) -> None:
    ann = await visit(before=RECORD_WAKE_LOCK)
    assert await ann.page.evaluate("document.title") == "Antiphon"
    await in_room(ann)
    assert await ann.page.evaluate("document.title") == "1 person · Antiphon"
    await ann.page.click("Mute")
    await ann.page.wait("document.title === 'Muted · 1 person · Antiphon'", for_="the title")
    await ann.page.click("Leave Room")
    await ann.wait_status("Connected")
    await ann.page.wait("document.title === 'Antiphon'", for_="the title")
    assert await ann.page.evaluate("window.locks") == ["screen", "released"]


async def test_the_link_is_shared_where_the_system_can(visit: Opener) -> None:
    ann, bo = await visit(before=SHARE), await visit(before="delete Navigator.prototype.share")
    room = await in_room(ann)
    await ann.page.click("Share")
    await ann.page.wait("window.shared", for_="the system's sheet")
    assert (await ann.page.evaluate("window.shared"))["url"] == f"{ann.url}/?room={room}"
    await in_room(bo, "Bo")
    assert not await bo.page.can_see("button", "Share")


async def test_statistics_are_drawn_and_downloaded(visit: Opener, tmp_path: Path) -> None:
    ann, _bo = await a_call(visit)
    toggle = tab(ann).get_by_role("button", name="Show detailed statistics", exact=True)
    await toggle.click()
    assert await toggle.get_attribute("aria-expanded") == "true"
    await ann.page.wait("document.querySelectorAll('#connections canvas').length === 12", for_="six charts for each of two connections")
    facts = "document.getElementById('connections').innerText"
    await ann.page.wait(f"/opus, 48/.test({facts}) && /SRTP_AEAD_AES_128_GCM/.test({facts}) && /DTLS 1.2/.test({facts})", for_="the facts")
    await ann.page.wait(f"/→ host 127.0.0.1:\\d+ .UDP/.test({facts})", for_="the path")
    await ann.page.wait(f"/Bitrate\\s+\\d+[.,]?\\d* kbit/.test({facts})", for_="a bitrate")
    async with tab(ann).expect_download() as saved:
        await ann.page.click("Download statistics")
    await (await saved.value).save_as(tmp_path / "statistics.json")
    report = json.loads((tmp_path / "statistics.json").read_text())
    assert [one["direction"] for one in report["connections"]] == ["send", "receive"]
    assert report["connections"][1]["streams"][0]["history"]
    await toggle.click()
    assert not await ann.page.evaluate("document.querySelector('#connections canvas')")
    assert not ann.page.problems


async def test_long_and_right_to_left_names_stay_in_their_place(visit: Opener, server: RunningServer) -> None:
    long, hebrew = "Wolfeschlegelsteinhausenbergerdorff-the-one-and-only-of-that-nam", "עדה לאבלייס"
    ann = await visit(**PHONE)
    room = await in_room(ann, long)
    async with crowd(server.ws_url, room, [hebrew, long, "a\u202eb"]):
        await ann.wait_people(long, hebrew, long, "a\u202eb")
        assert not await ann.page.evaluate(OVERFLOW)
        for name in (hebrew, long):
            assert await ann.page.can_see("button", f"Options for {name}") or name == long
        await ann.page.click(f"Options for {hebrew}")
        assert await ann.page.can_see("slider", f"Volume of {hebrew}")
        assert not await ann.page.evaluate(OVERFLOW)


async def test_a_call_of_twelve_is_usable_with_one_thumb(visit: Opener, server: RunningServer) -> None:
    ann = await visit(**PHONE)
    room = await in_room(ann)
    async with crowd(server.ws_url, room, [f"Person {number}" for number in range(11)]):
        await ann.page.wait("document.querySelectorAll('#people > li').length === 12", for_="twelve people")
        assert not await ann.page.evaluate(OVERFLOW)
        small = """[...document.querySelectorAll('button')].filter((button) => button.checkVisibility())
            .map((button) => [button.ariaLabel ?? button.innerText, button.getBoundingClientRect()])
            .filter(([, { width, height }]) => Math.min(width, height) < 44).map(([name]) => name)"""
        assert await ann.page.evaluate(small) == []
        low = """[...document.querySelectorAll('.controls button')].filter((button) => button.checkVisibility())
            .map((button) => button.getBoundingClientRect())
            .every(({ top, bottom }) => top > innerHeight * 0.75 && bottom <= innerHeight)"""
        assert await ann.page.evaluate(low)
        await ann.page.click("Mute")
        await ann.page.click("Options for Person 10")
        await ann.page.click("Close")
        await ann.page.click("Leave Room")
        await ann.wait_status("Connected")


async def test_two_tabs_of_one_person_are_two_in_the_room(visit: Opener) -> None:
    ann = await visit()
    room = await in_room(ann)
    second = Person(ChromiumPage(tab(ann).context, await tab(ann).context.new_page()), ann.url)
    await second.open(f"/?room={room}")
    assert await second.page.evaluate("document.getElementById('username').value") == "Ann"
    await second.page.click("Connect to Server")
    await second.wait_status("Connected")
    await second.give_microphone()
    await second.join_room()
    await ann.assert_hears("Ann")
    await second.assert_hears("Ann")
    await ann.wait_people("Ann (you)", "Ann")
    await second.page.click("Leave Room")
    await ann.wait_people("Ann (you)")
    await ann.wait_status("In room")


async def test_a_german_browser_gets_a_german_page(visit: Opener) -> None:
    anna = await visit(status="Getrennt", locale="de-AT")
    assert await anna.page.evaluate("document.documentElement.lang") == "de"
    await anna.page.click("Verbinden")
    await anna.wait_alert("Gib zuerst deinen Namen ein.")
    await anna.page.fill("Name", "Anna")
    await anna.page.click("Verbinden")
    await anna.wait_status("Verbunden")
    await anna.page.fill("Raum-ID", "gibt-es-nicht")
    await anna.page.click("Beitreten")
    await anna.wait_alert("Diesen Raum gibt es nicht.")
    await anna.page.click("Neuen Raum öffnen")
    await anna.wait_status("Im Raum")
    assert "Anna (du)" in await anna.page.evaluate("document.getElementById('people').innerText")
    assert await anna.page.can_see("button", "Raum verlassen")


async def test_reloading_and_joining_again(visit: Opener) -> None:
    ann, bo = await a_call(visit)
    await tab(bo).reload()
    await ann.wait_people("Ann")
    await bo.page.click("Connect to Server")
    await bo.wait_status("Connected")
    await bo.give_microphone()
    await bo.join_room()
    await ann.assert_hears("Bo")
    await bo.assert_hears("Ann")
