/** Puts the page together: the client of web/client, and the parts of the page that show it. */

import { AntiphonClient } from "../client/index.js";
import { Call } from "./call.js";
import { box } from "./elements.js";
import { Lobby } from "./lobby.js";
import { Microphone } from "./microphone.js";
import { clearError, initNotices, showError, showNotice } from "./notices.js";
import { STATUS, TEXT } from "./text.js";

const client = new AntiphonClient();
const microphone = new Microphone({
  onStream: (stream) => {
    clearError("microphone");
    call.updateMute();
    client.publish(stream).catch(() => {});
  },
  onEnded: () => {
    client.unpublish();
    call.updateMute();
  },
  onError: (sentence) => showError(sentence, "microphone"),
});
const call = new Call(client, microphone);
const lobby = new Lobby(client);
initNotices();

client.on("statechange", ({ state }) => {
  const status = box("status");
  status.textContent = STATUS[state];
  status.dataset["state"] = state;
  lobby.show(state);
});
client.on("roomjoined", ({ room }) => {
  clearError("call");
  call.enter(room);
});
client.on("roomleft", () => call.leave());
client.on("roommoved", () => showNotice(TEXT.roomMoved));
client.on("draining", ({ deadlineSeconds }) => showError(TEXT.draining(deadlineSeconds)));
client.on("disconnected", ({ error }) => error && showError(error.message));
client.on("error", ({ error }) => showError(error.message));

// A closed or left page says goodbye, so that the others need not wait for it to be missed.
addEventListener("pagehide", () => client.close());

// For bug reports and tests: the client with its RTCPeerConnections, from the browser's console.
Object.defineProperty(window, "antiphon", { value: Object.freeze({ client }), enumerable: true });
