/** The start page: name and connecting, creating and joining a room. */

import { box, button, input } from "./elements.js";
import { roomIdFrom, tokenFrom } from "./links.js";
import { clearError, showError } from "./notices.js";
import { recall, recallInTab, remember, rememberInTab } from "./storage.js";
import { TEXT } from "./text.js";

/** @typedef {import("../client/index.js").AntiphonClient} AntiphonClient */
/** @typedef {import("../client/client.js").ClientState} ClientState */

const NAME_KEY = "antiphon.username";
const TOKEN_KEY = "antiphon.token";

export class Lobby {
  #client;
  /** Kept beside the address, which loses it when a room's own link takes its place. */
  #token = tokenFrom(location.hash) || (recallInTab(TOKEN_KEY) ?? "");

  /** @param {AntiphonClient} client */
  constructor(client) {
    this.#client = client;
    this.#onSubmit("connect-form", () => this.#connect());
    this.#onSubmit("join-form", () => this.#join());
    button("create-room").addEventListener("click", () => this.#call(() => client.createRoom()));
    button("disconnect").addEventListener("click", () => client.close());
    input("username").value = recall(NAME_KEY) ?? "";
    const invited = roomIdFrom(location.search);
    input("room-id").value = invited;
    if (invited) putJoiningFirst();
    rememberInTab(TOKEN_KEY, this.#token);
    this.show(client.state); // until here no button of the page could be pressed
  }

  /** @param {ClientState} state */
  show(state) {
    const connected = state === "connected";
    const idle = state === "disconnected";
    box("connect-form").hidden = !idle && state !== "connecting";
    input("username").disabled = !idle;
    button("connect").disabled = !idle;
    box("connected-as").hidden = idle || state === "connecting";
    button("create-room").disabled = !connected;
    button("join-room").disabled = !connected;
    box("room-hint").hidden = connected;
  }

  #connect() {
    const name = input("username").value.trim();
    if (name === "") {
      showError(TEXT.enterName);
      input("username").focus();
      return;
    }
    remember(NAME_KEY, name);
    box("connected-name").textContent = name;
    this.#call(async () => {
      await this.#client.connect(location.origin, name, { token: this.#token });
      (input("room-id").value ? button("join-room") : button("create-room")).focus();
    });
  }

  #join() {
    const roomId = roomIdFrom(input("room-id").value);
    if (roomId === "") {
      showError(TEXT.enterRoom);
      input("room-id").focus();
      return;
    }
    input("room-id").value = roomId;
    this.#call(() => this.#client.joinRoom(roomId));
  }

  /**
   * Failures are shown by the client's `error` events.
   *
   * @param {() => Promise<unknown>} call
   */
  #call(call) {
    clearError("call");
    call().catch(() => {});
  }

  /**
   * @param {string} id of a form
   * @param {() => void} submit
   */
  #onSubmit(id, submit) {
    box(id).addEventListener("submit", (event) => {
      event.preventDefault();
      submit();
    });
  }
}

/** Who followed a link wants to join that room; opening another one comes second. */
function putJoiningFirst() {
  box("lobby-lead").textContent = TEXT.invitation;
  box("or-text").textContent = TEXT.orCreate;
  box("join-form").after(box("or"), button("create-room"));
  button("join-room").classList.add("primary");
  button("create-room").classList.remove("primary");
}
