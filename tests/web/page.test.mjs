/** The page's modules that need no page: texts, settings, capture, voice, title. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { constraintsFor, problemOf } from "../../web/app/capture.js";
import { named } from "../../web/app/devices.js";
import { Settings } from "../../web/app/settings.js";
import { chooseLanguage } from "../../web/app/text.js";
import { DE } from "../../web/app/text/de.js";
import { EN } from "../../web/app/text/en.js";
import { titleOf } from "../../web/app/title.js";
import { Voice } from "../../web/app/voice.js";

/** What kind of thing stands under which key, all the way down. */
function shape(value) {
  if (Array.isArray(value)) return `list of ${value.length}`;
  if (typeof value === "function") return `function of ${value.length}`;
  if (typeof value !== "object") return typeof value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, shape(inner)]));
}

describe("texts", () => {
  it("are the same in every language, in other words", () => {
    assert.deepEqual(shape(DE), shape(EN));
    const sentences = Object.entries(EN).filter(([, text]) => typeof text === "string" && text.includes(" "));
    assert.deepEqual(sentences.filter(([key, text]) => DE[key] === text), []);
  });

  it("are in the first language that the browser wants and the page has", () => {
    assert.equal(chooseLanguage(["fr-CA", "de-AT", "en"]), "de");
    assert.equal(chooseLanguage(["EN-us", "de"]), "en");
    assert.equal(chooseLanguage(["fr"]), "en");
    assert.equal(chooseLanguage([]), "en");
  });

  it("keep the names that were promised", () => {
    const promised = ["connect", "requestMicrophone", "createRoom", "copyLink", "joinRoom", "mute", "unmute", "leaveRoom", "username", "roomId"];
    assert.deepEqual(
      promised.map((key) => EN[key]),
      ["Connect to Server", "Request Microphone Access", "Create New Room", "Copy Room Link", "Join Room", "Mute", "Unmute", "Leave Room", "Username", "Room ID"],
    );
    assert.equal(EN.showStatistics, "Show detailed statistics");
    assert.deepEqual(Object.values(EN.status), ["Disconnected", "Connecting", "Connected", "In room", "Reconnecting"]);
  });
});

describe("settings", () => {
  it("take of an earlier visit what is still of the right kind", () => {
    const { values } = new Settings(JSON.stringify({ speaker: "s", echoCancellation: "no", callSounds: false, other: 1 }));
    assert.deepEqual([values.speaker, values.echoCancellation, values.callSounds], ["s", true, false]);
    assert.equal("other" in values, false);
    for (const broken of ["", "{", "null", "7", '"x"']) assert.equal(new Settings(broken).values.microphone, "");
  });

  it("tell what has become another", () => {
    const settings = new Settings("{}");
    const told = [];
    settings.onChange((key) => told.push(key));
    settings.set({ microphone: "m", noiseSuppression: true });
    assert.deepEqual(told, ["microphone"]);
  });
});

describe("capture", () => {
  it("asks for the chosen device, and does not insist on one that is not there", () => {
    const { values } = new Settings(JSON.stringify({ microphone: "m", autoGainControl: false }));
    assert.deepEqual(constraintsFor(values, true).deviceId, { exact: "m" });
    assert.deepEqual(constraintsFor(values, false), {
      deviceId: { ideal: "m" },
      echoCancellation: true,
      noiseSuppression: true,
      autoGainControl: false,
      channelCount: 1,
      sampleRate: 48_000,
    });
    assert.equal("deviceId" in constraintsFor(new Settings("{}").values, false), false);
  });

  it("knows every refusal of the browsers", () => {
    const thrown = (name, message = "") => Object.assign(new Error(message), { name });
    assert.equal(problemOf(thrown("NotAllowedError", "Permission denied")), "denied");
    assert.equal(problemOf(thrown("NotAllowedError", "Permission denied by system")), "system");
    assert.equal(problemOf(thrown("NotFoundError")), "missing");
    assert.equal(problemOf(thrown("NotReadableError")), "busy");
    assert.equal(problemOf(thrown("InsecureContext")), "insecure");
    assert.equal(problemOf(thrown("TypeError")), "failed");
    assert.equal(problemOf("?"), "failed");
    for (const problem of ["denied", "system", "missing", "busy", "insecure", "ended", "failed"]) {
      assert.ok(EN.microphoneProblem[problem] && EN.microphoneWayOut[problem].length > 0);
    }
  });

  it("lists each device once, and none that the browser does not name yet", () => {
    const device = (kind, deviceId) => ({ kind, deviceId, label: deviceId, groupId: "g" });
    const all = [device("audioinput", "default"), device("audioinput", "communications"), device("audioinput", "a"), device("audiooutput", "b")];
    assert.deepEqual(named(all, "audioinput").map(({ id }) => id), ["a"]);
    assert.deepEqual(named([device("audioinput", "")], "audioinput"), []);
  });
});

describe("voice", () => {
  const make = () => {
    const client = { muted: false, async setMuted(muted) { this.muted = muted; } };
    return { client, voice: new Voice(client, () => {}) };
  };

  it("lets who is muted talk while the key is held", () => {
    const { client, voice } = make();
    assert.equal(voice.startTalking(), false); // not muted: Space is the page's
    client.muted = true;
    assert.equal(voice.startTalking(), true);
    assert.equal(client.muted, false);
    assert.equal(voice.startTalking(), true); // the key repeats
    voice.stopTalking();
    assert.equal(client.muted, true);
    voice.stopTalking();
    assert.equal(client.muted, true);
  });

  it("deafens with the microphone, and gives it back as it was", async () => {
    const { client, voice } = make();
    for (const before of [false, true]) {
      client.muted = before;
      await voice.toggleDeafen();
      assert.deepEqual([voice.deafened, client.muted, voice.startTalking()], [true, true, false]);
      await voice.toggleDeafen();
      assert.deepEqual([voice.deafened, client.muted], [false, before]);
    }
  });

  it("hears again who speaks again", async () => {
    const { client, voice } = make();
    await voice.toggleDeafen();
    await voice.toggleMute();
    assert.deepEqual([voice.deafened, client.muted], [false, false]);
  });
});

describe("title", () => {
  it("says what a person must know who looks at another tab", () => {
    const call = { state: "in_room", people: 3, muted: false, deafened: false };
    assert.equal(titleOf(call), "3 people · Antiphon");
    assert.equal(titleOf({ ...call, muted: true }), "Muted · 3 people · Antiphon");
    assert.equal(titleOf({ ...call, muted: true, deafened: true, people: 1 }), "Deafened · 1 person · Antiphon");
    assert.equal(titleOf({ ...call, state: "reconnecting", muted: true }), "Reconnecting · 3 people · Antiphon");
    assert.equal(titleOf({ ...call, state: "disconnected", people: 0 }), "Antiphon");
  });
});
