"""Microphone and speaker: refused, chosen, treated otherwise, plugged in and out, also during a call."""

from __future__ import annotations

import pytest
from playwright.async_api import Page

from tests.browser.chromium import INSECURE_HOST, ChromiumPage
from tests.browser.conftest import Opener
from tests.browser.person import Person

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

REFUSE = """
window.refusal = {};
const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
navigator.mediaDevices.getUserMedia = async (wanted) => {
  if (window.refusal.name) throw new DOMException(window.refusal.message ?? "", window.refusal.name);
  return open(wanted);
};
"""
UNPLUG = """
let unplugged = null;
const devices = navigator.mediaDevices;
const [list, get] = [devices.enumerateDevices.bind(devices), devices.getUserMedia.bind(devices)];
devices.enumerateDevices = async () => (await list()).filter(({ label }) => label !== unplugged);
devices.getUserMedia = async ({ audio }) => {
  const gone = (await list()).find(({ label }) => label === unplugged)?.deviceId;
  if (gone && audio.deviceId?.exact === gone) throw new DOMException("", "OverconstrainedError");
  return get({ audio: gone ? { ...audio, deviceId: "default" } : audio });
};
window.unplug = (label = null) => {
  unplugged = label;
  devices.dispatchEvent(new Event("devicechange"));
};
"""
SENDER = "antiphon.client.connections.find(({ direction }) => direction === 'send').peerConnection.getSenders()[0]"
TRACK = f"{SENDER}.track"
LABEL = f"{TRACK}?.label ?? ''"


def tab(person: Person) -> Page:
    assert isinstance(person.page, ChromiumPage)
    return person.page.page


async def choose(person: Person, list_name: str, label: str) -> None:
    """Choose a device in the settings."""
    await person.page.click("Settings")
    await tab(person).get_by_role("combobox", name=list_name, exact=True).select_option(label=label)
    await person.page.click("Done")


async def in_room(person: Person, name: str = "Ann") -> str:
    await person.connect(name)
    await person.give_microphone()
    room = await person.create_room()
    await person.page.wait("antiphon.client.room.local.publishing", for_="the microphone to be heard")
    return room


@pytest.mark.parametrize(
    ("name", "message", "says", "way_out"),
    [
        ("NotAllowedError", "Permission denied", "not allowed to use your microphone", "left of the page’s address"),
        ("NotAllowedError", "Permission denied by system", "The system does not let", "privacy settings"),
        ("NotFoundError", "", "No microphone was found", "Plug a microphone"),
        ("NotReadableError", "", "in use by another program", "Close the other program"),
        ("AbortError", "", "could not be started", "Close other programs"),
    ],
)
async def test_a_refusal_shows_the_way_out_and_asking_again_helps(visit: Opener, name: str, message: str, says: str, way_out: str) -> None:
    ann = await visit(before=REFUSE)
    await ann.page.evaluate(f"window.refusal = {{ name: '{name}', message: '{message}' }}")
    await ann.page.click("Request Microphone Access")
    await ann.wait_alert(says)
    assert way_out in await ann.page.evaluate("document.getElementById('microphone-help').innerText")
    await ann.page.evaluate("window.refusal = {}")
    await ann.give_microphone()
    assert await ann.page.evaluate("document.getElementById('alert').hidden && document.getElementById('microphone-help').hidden")


async def test_an_insecure_page_says_what_is_missing_before_anybody_asks(visit: Opener) -> None:
    ann = await visit()
    port = ann.url.rsplit(":", 1)[1]
    await ann.page.goto(f"http://{INSECURE_HOST}:{port}/")
    await ann.page.wait("document.getElementById('microphone-help').innerText.includes('https')", for_="the way out")
    await ann.page.click("Request Microphone Access")
    await ann.wait_alert("only to pages opened through https or on localhost")


async def test_another_microphone_takes_over_in_the_call_and_is_remembered(visit: Opener) -> None:
    ann, bo = await visit(), await visit()
    room = await in_room(ann)
    await bo.connect("Bo")
    await bo.join_room(room)
    await bo.assert_hears("Ann")
    await bo.page.evaluate("antiphon.client.room.on('trackremoved', () => window.interrupted = true)")
    await choose(ann, "Microphone", "Fake Audio Input 2")
    await ann.page.wait(f"({LABEL}) === 'Fake Audio Input 2'", for_="the other microphone")
    await bo.assert_hears("Ann")
    assert not await bo.page.evaluate("window.interrupted ?? false")
    await ann.page.goto(ann.url)
    await ann.wait_status("Disconnected")
    await ann.give_microphone()
    await ann.page.wait("document.getElementById('microphone-device').innerText === 'Fake Audio Input 2'", for_="the remembered microphone")


async def test_a_chosen_speaker_plays_everybody(visit: Opener) -> None:
    ann, bo = await visit(), await visit()
    room = await in_room(ann)
    await bo.connect("Bo")
    await bo.give_microphone()
    await choose(bo, "Speaker", "Fake Audio Output 2")
    await bo.join_room(room)
    await bo.assert_hears("Ann")
    output = "(await navigator.mediaDevices.enumerateDevices()).find(({ label }) => label === 'Fake Audio Output %s').deviceId"
    playing = "document.querySelector('#sounds audio')?.sinkId === {}"
    await bo.page.wait(f"(async () => {playing.format(output % 2)})()", for_="the chosen speaker")
    await choose(bo, "Speaker", "Fake Audio Output 1")
    await bo.page.wait(f"(async () => {playing.format(output % 1)})()", for_="the other speaker")
    await bo.page.click("Settings")
    await bo.page.click("Play Test Sound")
    await bo.page.click("Done")


async def test_switches_work_while_the_microphone_is_on(visit: Opener) -> None:
    ann = await visit()
    await in_room(ann)
    await ann.page.click("Settings")
    for name, key in (
        ("Echo cancellation", "echoCancellation"),
        ("Noise suppression", "noiseSuppression"),
        ("Automatic gain control", "autoGainControl"),
    ):
        await tab(ann).get_by_role("switch", name=name, exact=True).click()
        await ann.page.wait(f"{TRACK}?.getSettings().{key} === false", for_=f"{name} to be off")
    await tab(ann).get_by_role("switch", name="Noise suppression", exact=True).click()
    await ann.page.wait(f"{TRACK}?.getSettings().noiseSuppression === true", for_="noise suppression to be on")
    await ann.page.click("Done")


async def test_a_headset_that_is_pulled_out_hands_over_and_takes_over_again(visit: Opener) -> None:
    ann = await visit(before=UNPLUG)
    await in_room(ann)
    await choose(ann, "Microphone", "Fake Audio Input 2")
    await ann.page.wait(f"({LABEL}) === 'Fake Audio Input 2'", for_="the headset")
    # Out: its track ends, and what is left takes over (a fake device does not go away by itself).
    await ann.page.evaluate(
        f"(() => {{ const headset = {TRACK}; unplug('Fake Audio Input 2'); headset.dispatchEvent(new Event('ended')); }})()"
    )
    await ann.page.wait(f"({LABEL}) !== 'Fake Audio Input 2' && ({LABEL}) !== ''", for_="another microphone")
    assert await ann.page.can_see("button", "Mute")
    # In again: the chosen one is used.
    await ann.page.evaluate("unplug()")
    await ann.page.wait(f"({LABEL}) === 'Fake Audio Input 2'", for_="the headset again")
    await ann.page.wait("document.getElementById('toast').innerText.includes('Fake Audio Input 2')", for_="a notice")


async def test_the_only_microphone_gone_is_said_and_plugged_in_again_it_is_used(visit: Opener) -> None:
    ann, bo = await visit(before=REFUSE + UNPLUG), await visit()
    room = await in_room(ann)
    await bo.connect("Bo")
    await bo.join_room(room)
    await bo.assert_hears("Ann")
    await ann.page.evaluate(f"(() => {{ window.refusal = {{ name: 'NotFoundError' }}; {TRACK}.dispatchEvent(new Event('ended')); }})()")
    await ann.wait_alert("unplugged")
    assert await ann.page.can_see("button", "Request Microphone Access")
    await bo.wait_people("Listening only", "Listening only")
    await ann.page.evaluate("(() => { window.refusal = {}; unplug(); })()")
    await bo.wait_people("Microphone on", "Listening only")
    await bo.assert_hears("Ann")
    assert await ann.page.evaluate("document.getElementById('alert').hidden")
