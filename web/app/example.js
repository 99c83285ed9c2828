/** Enters a room, sends the microphone and plays everybody. See example.html. */

import { AntiphonClient } from "../client/index.js";

const client = new AntiphonClient();
const state = /** @type {HTMLElement} */ (document.getElementById("state"));
const people = /** @type {HTMLElement} */ (document.getElementById("people"));
const field = (/** @type {string} */ id) => /** @type {HTMLInputElement} */ (document.getElementById(id));

client.on("statechange", (event) => (state.textContent = event.state));
client.on("error", (event) => (state.textContent = event.error.message));

client.on("roomjoined", ({ room }) => {
  field("room").value = room.id;
  room.on("trackadded", ({ stream, participant }) => {
    const audio = new Audio();
    audio.srcObject = stream; // stops by itself when the person leaves
    audio.play().catch(() => (state.textContent = `Tap the page to hear ${participant.username}`));
  });
  const show = () => (people.textContent = room.participants.map((person) => person.username).join(", "));
  for (const type of /** @type {const} */ (["participantjoined", "participantleft"])) room.on(type, show);
  show();
});

document.getElementById("enter")?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const roomId = field("room").value;
  await client.connect(location.origin, field("name").value);
  await client.publish(await navigator.mediaDevices.getUserMedia({ audio: true }));
  await (roomId ? client.joinRoom(roomId) : client.createRoom());
});
