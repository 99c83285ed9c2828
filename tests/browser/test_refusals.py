"""What goes wrong is said in plain sentences, and the page goes on."""

from __future__ import annotations

import pytest

from tests.browser.conftest import Opener

pytestmark = pytest.mark.browser


async def test_a_wrong_room_is_said_and_a_right_one_can_be_joined_then(open_chromium: Opener) -> None:
    ann = await open_chromium("/?room=no-such-room")
    await ann.connect("Ann")
    await ann.page.click("Join Room")
    await ann.wait_alert("no such room")
    await ann.wait_status("Connected")
    await ann.create_room()
    assert await ann.page.evaluate("document.getElementById('alert').hidden")


async def test_a_refused_microphone_is_said_in_chromium_and_one_can_listen(open_chromium: Opener) -> None:
    ann, bo = await open_chromium(), await open_chromium(microphone=False)
    await ann.connect("Ann")
    await ann.give_microphone()
    room = await ann.create_room()
    await bo.connect("Bo")
    await bo.page.click("Request Microphone Access")
    await bo.wait_alert("not allowed to use your microphone")
    await bo.join_room(room)
    await bo.assert_hears("Ann")
    assert await bo.page.can_see("button", "Request Microphone Access")
    assert not await bo.page.can_see("button", "Mute")


async def test_a_refused_microphone_is_said_in_firefox(open_firefox: Opener) -> None:
    fia = await open_firefox(microphone=False)
    await fia.page.click("Request Microphone Access")
    await fia.wait_alert("not allowed to use your microphone")


async def test_a_name_is_needed_and_a_bad_one_is_said(open_chromium: Opener) -> None:
    ann = await open_chromium()
    await ann.page.click("Connect to Server")
    await ann.wait_alert("name")
    await ann.page.fill("Username", "\u200e\u200f")
    await ann.page.click("Connect to Server")
    await ann.wait_alert("name")
    await ann.wait_status("Disconnected")
    await ann.connect("Ann")


async def test_refused_autoplay_is_one_button(open_chromium: Opener) -> None:
    ann, bo = await open_chromium(), await open_chromium(autoplay=False)
    await ann.connect("Ann")
    await ann.give_microphone()
    room = await ann.create_room()
    # Entered by script, so that nobody has touched the page.
    await bo.page.evaluate(
        f"(async () => {{ await antiphon.client.connect(location.origin, 'Bo'); await antiphon.client.joinRoom('{room}'); }})()"
    )
    await bo.page.wait("!document.getElementById('unblock-sound').hidden", for_="the button")
    await bo.page.click("Turn On Sound")
    await bo.page.wait("document.getElementById('unblock-sound').hidden", for_="sound")
    await bo.assert_hears("Ann")


async def test_the_example_talks_to_the_page(open_chromium: Opener) -> None:
    ann = await open_chromium()
    await ann.connect("Ann")
    await ann.give_microphone()
    room = await ann.create_room()
    other = await open_chromium()
    await other.page.goto(f"{other.url}/example.html")
    await other.page.fill("Name", "Example")
    await other.page.fill("Room", room)
    await other.page.click("Enter")
    await ann.wait_people("Ann", "Example")
    await ann.assert_hears("Example")
    playing = "document.getElementById('people').textContent"
    assert await other.page.evaluate(playing) == "Ann, Example"
    assert not other.page.problems
    await other.page.click("Leave")
    await ann.wait_people("Ann")
    assert await other.page.evaluate("document.getElementById('state').textContent") == "disconnected"


async def test_the_example_says_what_is_wrong_and_can_be_tried_again(open_chromium: Opener) -> None:
    ann = await open_chromium()
    await ann.page.goto(f"{ann.url}/example.html")
    await ann.page.fill("Name", "Ann")
    await ann.page.fill("Room", "no-such-room")
    await ann.page.click("Enter")
    await ann.page.wait("document.getElementById('state').textContent.includes('no such room')", for_="the reason")
    await ann.page.fill("Room", "")
    await ann.page.click("Enter")
    await ann.page.wait("document.getElementById('state').textContent === 'in_room'", for_="a room")
