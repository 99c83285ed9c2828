"""People in real browsers talk through the page's own buttons."""

from __future__ import annotations

import asyncio
import re

import pytest
from playwright.async_api import WebSocketRoute

from tests.browser.chromium import ChromiumPage
from tests.browser.conftest import Opener

pytestmark = pytest.mark.browser


async def test_two_chromium_pages_hear_each_other(open_chromium: Opener) -> None:
    ann, bo = await open_chromium(), await open_chromium()
    await ann.connect("Ann")
    await ann.give_microphone()
    room = await ann.create_room()
    await bo.connect("Bo")
    await bo.give_microphone()
    await bo.join_room(room)
    for person in (ann, bo):
        await person.wait_people("Ann", "Bo")
    await ann.assert_hears("Bo")
    await bo.assert_hears("Ann")
    await ann.wait_microphone_level()
    await ann.wait_level_of("Ann")
    await ann.wait_level_of("Bo")
    await bo.page.click("Leave Room")
    await bo.wait_status("Connected")
    await ann.wait_people("Ann")
    assert not ann.page.problems
    assert not bo.page.problems


async def test_the_status_tells_of_each_step(open_chromium: Opener) -> None:
    ann = await open_chromium()
    held = asyncio.Event()

    async def hold(socket: WebSocketRoute) -> None:
        await held.wait()
        socket.connect_to_server()

    assert isinstance(ann.page, ChromiumPage)
    await ann.page.page.route_web_socket("**/ws", hold)
    await ann.page.fill("Username", "Ann")
    await ann.page.click("Connect to Server")
    await ann.wait_status("Connecting")
    held.set()
    await ann.wait_status("Connected")
    await ann.create_room()
    await ann.page.click("Leave Room")
    await ann.wait_status("Connected")
    await ann.page.click("Disconnect")
    await ann.wait_status("Disconnected")


async def test_chromium_and_firefox_hear_each_other(open_chromium: Opener, open_firefox: Opener) -> None:
    fia, ann = await open_firefox(), await open_chromium()
    await fia.connect("Fia")
    await fia.give_microphone()
    room = await fia.create_room()
    await ann.connect("Ann")
    await ann.give_microphone()
    await ann.join_room(room)
    await ann.assert_hears("Fia")
    await fia.assert_hears("Ann")
    await ann.wait_level_of("Fia")
    await fia.wait_level_of("Ann")
    assert not ann.page.problems
    assert not fia.page.problems


async def test_three_people_and_one_who_only_listens(open_chromium: Opener) -> None:
    ann, bo, cleo = await open_chromium(), await open_chromium(), await open_chromium()
    await ann.connect("Ann")
    await ann.give_microphone()
    room = await ann.create_room()
    await bo.connect("Bo")
    await bo.give_microphone()
    await bo.join_room(room)
    await cleo.connect("Cleo")
    await cleo.join_room(room)
    await cleo.assert_hears("Ann", "Bo")
    for person in (ann, bo, cleo):
        await person.wait_people("Microphone on", "Microphone on", "Listening only")
    await cleo.give_microphone()
    await ann.assert_hears("Bo", "Cleo")
    await bo.assert_hears("Ann", "Cleo")


async def test_mute_is_seen_and_silences_and_unmute_is_heard_again(open_chromium: Opener) -> None:
    ann, bo = await open_chromium(), await open_chromium()
    await ann.connect("Ann")
    await ann.give_microphone()
    room = await ann.create_room()
    await bo.connect("Bo")
    await bo.join_room(room)
    await bo.assert_hears("Ann")
    await ann.page.click("Mute")
    await bo.wait_people("Muted", "Listening only")
    await bo.assert_silence_from("Ann")
    late = await open_chromium()
    await late.connect("Late")
    await late.join_room(room)
    await late.wait_people("Muted", "Listening only", "Listening only")
    await ann.page.click("Unmute")
    await bo.wait_people("Microphone on", "Listening only", "Listening only")
    await bo.assert_hears("Ann")
    await late.assert_hears("Ann")


async def test_someone_leaves_comes_back_and_is_heard_again(open_chromium: Opener) -> None:
    ann, bo = await open_chromium(), await open_chromium()
    await ann.connect("Ann")
    await ann.give_microphone()
    room = await ann.create_room()
    await bo.connect("Bo")
    await bo.give_microphone()
    for _ in range(2):
        await bo.join_room(room)
        await ann.assert_hears("Bo")
        await bo.assert_hears("Ann")
        await bo.page.click("Leave Room")
        await bo.wait_status("Connected")
        await ann.wait_people("Ann")


async def test_chromium_that_is_gone_without_goodbye_is_seen_to_leave(open_chromium: Opener) -> None:
    ann, bo = await open_chromium(), await open_chromium()
    await ann.connect("Ann")
    await ann.give_microphone()
    room = await ann.create_room()
    await bo.connect("Bo")
    await bo.give_microphone()
    await bo.join_room(room)
    await ann.wait_people("Ann", "Bo")
    await bo.page.kill()
    await ann.wait_people("Ann")


async def test_firefox_that_is_gone_without_goodbye_is_seen_to_leave(open_chromium: Opener, open_firefox: Opener) -> None:
    ann, fia = await open_chromium(), await open_firefox()
    await ann.connect("Ann")
    room = await ann.create_room()
    await fia.connect("Fia")
    await fia.give_microphone()
    await fia.join_room(room)
    await ann.assert_hears("Fia")
    await fia.page.kill()
    await ann.wait_people("Ann")


async def test_a_link_fills_in_its_room(open_chromium: Opener) -> None:
    ann = await open_chromium()
    await ann.connect("Ann")
    room = await ann.create_room()
    link = await ann.page.evaluate("location.href")
    assert link == f"{ann.url}/?room={room}"
    bo = await open_chromium(f"/?room={room}")
    assert await bo.page.evaluate("document.getElementById('room-id').value") == room
    await bo.connect("Bo")
    await bo.join_room()
    await ann.wait_people("Ann", "Bo")
    cleo = await open_chromium()
    await cleo.connect("Cleo")
    await cleo.join_room(f" {link} ")
    await ann.wait_people("Ann", "Bo", "Cleo")


async def test_the_copied_link_is_the_room_s(open_chromium: Opener) -> None:
    ann = await open_chromium()
    await ann.connect("Ann")
    room = await ann.create_room()
    await ann.page.evaluate("navigator.clipboard.writeText = async (text) => void (window.copied = text)")
    await ann.page.click("Copy Room Link")
    await ann.page.wait("window.copied", for_="the copied link")
    assert re.fullmatch(rf"http://127\.0\.0\.1:\d+/\?room={room}", await ann.page.evaluate("window.copied"))
    await ann.page.wait("document.getElementById('toast').innerText.includes('copied')", for_="a notice")
