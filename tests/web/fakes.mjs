/** A scripted server's end of a WebSocket, and just enough RTCPeerConnection to negotiate with. No network, no clock. */

/** The socket that Signaling opens; the test plays the server. */
export class FakeSocket extends EventTarget {
  readyState = 0;
  /** @type {any[]} messages of the client, decoded */
  sent = [];
  /** Called with each message of the client. */
  onSent = (_message) => {};

  send(frame) {
    const message = JSON.parse(frame);
    this.sent.push(message);
    this.onSent(message);
  }

  close(code = 1005, reason = "") {
    if (this.readyState === 3) return;
    this.readyState = 3;
    this.dispatchEvent(Object.assign(new Event("close"), { code, reason }));
  }

  /** The server accepts. */
  accept() {
    this.readyState = 1;
    this.dispatchEvent(new Event("open"));
  }

  /** The server says this. */
  say(message) {
    this.sayText(typeof message === "string" ? message : JSON.stringify(message));
  }

  sayText(data) {
    this.dispatchEvent(Object.assign(new Event("message"), { data }));
  }
}

/** Virtual time: timers run when the test advances it. */
export class FakeClock {
  nowMs = 0;
  #timers = new Map();
  #next = 1;

  surroundings = {
    now: () => this.nowMs,
    setTimer: (callback, delayMs) => {
      this.#timers.set(this.#next, { callback, atMs: this.nowMs + delayMs });
      return this.#next++;
    },
    clearTimer: (timer) => this.#timers.delete(timer),
  };

  advance(ms) {
    const endMs = this.nowMs + ms;
    for (;;) {
      const due = [...this.#timers].filter(([, timer]) => timer.atMs <= endMs).sort((a, b) => a[1].atMs - b[1].atMs)[0];
      if (!due) break;
      this.#timers.delete(due[0]);
      this.nowMs = due[1].atMs;
      due[1].callback();
    }
    this.nowMs = endMs;
  }
}

/** Negotiates by rote: the answer is always "answer", one candidate follows it, a receiving one gets a track. */
export class FakePeerConnection extends EventTarget {
  static all = [];
  connectionState = "new";
  localDescription = null;
  #transceiver = {
    direction: "recvonly",
    sender: {
      track: null,
      replaceTrack: async (track) => {
        this.#transceiver.sender.track = track;
      },
    },
  };

  constructor() {
    super();
    FakePeerConnection.all.push(this);
  }

  getTransceivers() {
    return [this.#transceiver];
  }

  async setRemoteDescription({ sdp }) {
    if (sdp.includes("broken")) throw new Error("broken SDP");
    if (sdp.includes("sendonly")) {
      this.dispatchEvent(Object.assign(new Event("track"), { track: { kind: "audio" }, receiver: { getSynchronizationSources: () => [] } }));
    }
  }

  async createAnswer() {
    return { type: "answer", sdp: "answer" };
  }

  async setLocalDescription(description) {
    this.localDescription = description;
    const candidate = { candidate: "candidate:1 1 udp 1 127.0.0.1 5000 typ host", protocol: "udp" };
    this.dispatchEvent(Object.assign(new Event("icecandidate"), { candidate }));
  }

  async addIceCandidate() {}

  async getStats() {
    return new Map();
  }

  become(state) {
    this.connectionState = state;
    this.dispatchEvent(new Event("connectionstatechange"));
  }

  close() {
    this.connectionState = "closed";
  }
}

/** Runs everything that promises have scheduled. */
export async function settled() {
  for (let turn = 0; turn < 30; turn += 1) await Promise.resolve();
}
