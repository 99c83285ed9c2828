/** Puts the page together: the client of web/client, and the parts of the page that show it. */

import { AntiphonClient } from "../client/index.js";
import { Call } from "./call.js";
import { Devices } from "./devices.js";
import { box } from "./elements.js";
import { registerServiceWorker } from "./install.js";
import { Lobby } from "./lobby.js";
import { Microphone } from "./microphone.js";
import { announce, clearError, initNotices, showError, showNotice } from "./notices.js";
import { Playback } from "./playback.js";
import { Settings } from "./settings.js";
import { SettingsDialog } from "./settings-dialog.js";
import { Speaker } from "./speaker.js";
import { StatisticsPanel } from "./statistics.js";
import { errorText, TEXT, translatePage } from "./text.js";
import { titleOf } from "./title.js";

translatePage();
initNotices();

const client = new AntiphonClient();
const settings = new Settings();
const playback = new Playback();
const devices = new Devices((change) => {
  dialog.show();
  speaker.onDevices();
  void microphone.onDevices(change);
});
const dialog = new SettingsDialog(settings, devices);
const speaker = new Speaker(settings, devices, playback);
const microphone = new Microphone(settings, devices, {
  onStream: (stream) => {
    call.showVoice();
    client.publish(stream).catch(() => {});
  },
  onEnded: () => {
    client.unpublish();
    call.showVoice();
  },
});
const call = new Call({ client, microphone, playback, settings, onChange: showTitle });
const lobby = new Lobby(client);
new StatisticsPanel(client);
void devices.refresh();

client.on("statechange", ({ state }) => {
  const status = box("status");
  status.textContent = TEXT.status[state];
  status.dataset["state"] = state;
  document.body.dataset["state"] = state;
  lobby.show(state);
  showTitle();
});
client.on("roomjoined", ({ room }) => {
  clearError("call");
  call.enter(room);
});
client.on("roomleft", ({ reason }) => {
  call.leave();
  const sentence = TEXT.leftBecause[reason];
  if (sentence) showError(sentence);
});
client.on("announcement", ({ message }) => showError(TEXT.announcement(message)));
client.on("reconnecting", ({ attempt }) => attempt === 1 && showNotice(TEXT.reconnecting));
client.on("reconnected", () => {
  clearError("call");
  showNotice(TEXT.reconnected);
});
client.on("roommoved", () => showNotice(TEXT.roomMoved));
client.on("draining", ({ deadlineSeconds }) => showError(TEXT.draining(deadlineSeconds)));
client.on("disconnected", ({ error }) => {
  announce(TEXT.disconnected);
  if (error) showError(errorText(error));
});
client.on("error", ({ error }) => showError(errorText(error)));

// A closed or left page says goodbye, so that the others need not wait for it to be missed.
addEventListener("pagehide", () => client.close());

function showTitle() {
  const people = client.room?.participants.length ?? 0;
  document.title = titleOf({ state: client.state, people, muted: client.muted, deafened: call.deafened });
}

registerServiceWorker();

// For bug reports and tests: the client with its RTCPeerConnections, from the browser's console.
Object.defineProperty(window, "antiphon", { value: Object.freeze({ client }), enumerable: true });
