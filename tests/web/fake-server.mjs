/** A server with one room and sessions that can be resumed, on fake sockets: as much of SIGNALING.md as reconnecting needs. */

import { FakeSocket } from "./fakes.mjs";

export class FakeServer {
  /** @type {FakeSocket[]} every socket that was opened */
  sockets = [];
  /** Whether it takes sockets. */
  up = true;
  /** Whether it answers at all. */
  silent = false;
  room = "r";
  /** Who is in the room besides the client: `{user_id, username, publishing, muted}`. */
  others = [{ user_id: "bo", username: "Bo", publishing: true, muted: false }];
  /** The client's session, by its resume token. */
  session = null;
  /** Errors to answer with, by type of the request. */
  refuse = {};
  /** What happens just before the next pong. */
  beforePong = [];
  #count = 0;

  open = () => {
    const socket = new FakeSocket();
    this.sockets.push(socket);
    socket.onSent = (message) => queueMicrotask(() => !this.silent && socket.readyState === 1 && this.#receive(socket, message));
    queueMicrotask(() => (this.up ? socket.readyState === 0 && socket.accept() : socket.close(1006)));
    return socket;
  };

  get socket() {
    return this.sockets.at(-1);
  }

  get sent() {
    return this.sockets.flatMap(({ sent }) => sent);
  }

  /** What was asked on the newest socket. */
  types() {
    return this.socket.sent.map(({ type }) => type);
  }

  /** It forgets everybody. */
  restart() {
    this.session = null;
  }

  #receive(socket, message) {
    const code = this.refuse[message.type];
    if (code) {
      socket.say({ type: "error", code, message: "No.", request: message.type });
      return;
    }
    for (const answer of this.#answers(message)) socket.say(answer);
  }

  #answers(message) {
    const { session } = this;
    switch (message.type) {
      case "register":
        return this.#register(message);
      case "ping":
        return [...this.beforePong.splice(0), { type: "pong" }];
      case "create_room":
        return this.#enter("new");
      case "join_room":
        if (message.room_id !== this.room) return [{ type: "error", code: "room_not_found", message: "No.", request: "join_room" }];
        return this.#enter(message.room_id);
      case "leave_room":
        session.room = null;
        return [{ type: "room_left" }];
      case "create_publisher":
        session.publishing = false;
        return [{ type: "publisher_created", sdp: "recvonly" }];
      case "publish_audio":
        session.publishing = true;
        return [{ type: "audio_published", track_id: "t" }];
      case "close_publisher":
        session.publishing = false;
        return [{ type: "publisher_closed", user_id: session.userId }];
      case "set_muted":
        session.muted = message.muted;
        return [];
      case "create_consumer": {
        const consumer_id = `c${(this.#count += 1)}`;
        session.consumers = session.consumers.filter(({ publisher_user_id }) => publisher_user_id !== message.publisher_user_id);
        session.consumers.push({ consumer_id, publisher_user_id: message.publisher_user_id });
        return [{ type: "consumer_created", consumer_id, publisher_user_id: message.publisher_user_id, sdp: "sendonly" }];
      }
      case "restart_ice":
        return message.target === "publisher" ? [{ type: "publisher_created", sdp: "recvonly" }] : [];
      case "close_consumer":
        session.consumers = session.consumers.filter(({ consumer_id }) => consumer_id !== message.consumer_id);
        return [];
      default:
        return [];
    }
  }

  #register({ username, resume_token }) {
    const resumed = this.session !== null && this.session.token === resume_token;
    if (!resumed) this.session = { userId: `me${(this.#count += 1)}`, username, room: null, publishing: false, muted: false, consumers: [] };
    this.session.token = `token${(this.#count += 1)}`;
    const { userId: user_id, token } = this.session;
    const registered = { type: "registered", user_id, protocol: [1], resume_token: token, resumed, ice_servers: [] };
    return resumed && this.session.room ? [registered, ...this.#state(true)] : [registered];
  }

  #enter(room) {
    Object.assign(this.session, { room, publishing: false, muted: false, consumers: [] });
    return this.#state(false);
  }

  #state(resumed) {
    const { userId: user_id, username, room, publishing, muted, consumers } = this.session;
    const people = room === this.room ? this.others : [];
    const participants = [...people.map((who) => ({ user_id: who.user_id, username: who.username })), { user_id, username }];
    return [
      { type: "room_joined", room_id: room, participants, ...(resumed ? { resumed: { publishing, muted, consumers } } : {}) },
      ...people.filter((who) => who.publishing).map((who) => ({ type: "new_publisher", user_id: who.user_id, username: who.username })),
      ...people.filter((who) => who.muted).map((who) => ({ type: "user_muted", user_id: who.user_id, muted: true })),
    ];
  }
}
