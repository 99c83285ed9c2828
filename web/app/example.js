/** Enters a room, sends the microphone and plays everybody. See example.html; all that the library can do is in client/README.md. */

import { AntiphonClient } from "../client/index.js";

const client = new AntiphonClient();
const box = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));
const field = (/** @type {string} */ id) => /** @type {HTMLInputElement} */ (document.getElementById(id));
const say = (/** @type {string} */ text) => (box("state").textContent = text);

client.on("statechange", ({ state }) => {
  say(state);
  field("enter-button").disabled = state !== "disconnected";
  field("leave").hidden = state === "disconnected";
});
client.on("error", ({ error }) => say(error.message));

client.on("roomjoined", ({ room }) => {
  field("room").value = room.id;
  room.on("trackadded", ({ stream }) => {
    const audio = new Audio();
    audio.srcObject = stream; // falls silent by itself when the person leaves
    audio.play().catch(() => addEventListener("click", () => audio.play(), { once: true }));
  });
  const show = () => (box("people").textContent = room.participants.map(({ username, muted }) => username + (muted ? " (muted)" : "")).join(", "));
  for (const type of /** @type {const} */ (["participantjoined", "participantleft", "participantchanged"])) room.on(type, show);
  show();
});

box("enter").addEventListener("submit", async (event) => {
  event.preventDefault();
  const roomId = field("room").value;
  try {
    await client.connect(location.origin, field("name").value);
    await client.publish(await navigator.mediaDevices.getUserMedia({ audio: true }));
    await (roomId ? client.joinRoom(roomId) : client.createRoom());
  } catch (error) {
    client.close();
    say(error instanceof Error ? error.message : String(error));
  }
});
box("leave").addEventListener("click", () => client.close());
addEventListener("pagehide", () => client.close());
