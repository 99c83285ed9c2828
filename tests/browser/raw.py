"""A client that is nothing but the protocol, in a browser's own WebSocket and RTCPeerConnection: what other people's clients do.

:data:`RAW` defines ``window.raw``; each method returns a promise. It hears on one subscription and may publish the fake microphone.
"""

from __future__ import annotations

RAW = """
(window.raw = {
  pc: {}, offers: [], waiting: [], people: [], errors: [],
  send(message) { this.ws.send(JSON.stringify(message)); },
  ask(message, type) {
    return new Promise((resolve) => { this.waiting.push({ type, resolve }); if (message) this.send(message); });
  },
  async open(url, name) {
    this.ws = new WebSocket(url);
    await new Promise((resolve) => { this.ws.onopen = resolve; });
    this.ws.onmessage = ({ data }) => this.take(JSON.parse(data));
    await this.ask({ type: "register", username: name }, "registered");
  },
  take(message) {
    if (message.type === "error") this.errors.push(message);
    const waiting = this.waiting.find(({ type }) => type === message.type);
    this.waiting = this.waiting.filter((one) => one !== waiting);
    waiting?.resolve(message);
    if (message.type === "subscription_offer") this.chain = (this.chain ?? Promise.resolve()).then(() => this.hear(message));
    if (message.type === "publisher_created" && !waiting) this.publishAgain(message);
  },
  async answer(name, sdp, track) {
    const pc = (this.pc[name] ??= new RTCPeerConnection());
    await pc.setRemoteDescription({ type: "offer", sdp });
    if (track) {
      pc.getTransceivers()[0].direction = "sendonly";
      await pc.getTransceivers()[0].sender.replaceTrack(track);
    }
    await pc.setLocalDescription();
    return pc.localDescription.sdp;
  },
  async hear(offer) {
    this.offers.push(offer);
    this.send({ type: "subscription_answer", revision: offer.revision, sdp: await this.answer("subscription", offer.sdp) });
  },
  async publish() {
    const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
    const { sdp } = await this.ask({ type: "create_publisher" }, "publisher_created");
    const published = this.ask(null, "audio_published");
    this.send({ type: "publish_audio", sdp: await this.answer("publisher", sdp, stream.getAudioTracks()[0]) });
    await published;
  },
  async publishAgain({ sdp }) {
    this.send({ type: "publish_audio", sdp: await this.answer("publisher", sdp) });
  },
  ufrags(name) {
    const of = (description) => /a=ice-ufrag:(\\S+)/.exec(description.sdp)[1];
    return [of(this.pc[name].localDescription), of(this.pc[name].remoteDescription)];
  },
  // Of the pair of candidates in use: the id, and where the browser tells them both ufrags.
  async pair(name) {
    const reports = await this.pc[name].getStats();
    const all = [...reports.values()];
    const inUse = all.find(({ type }) => type === "transport")?.selectedCandidatePairId;
    const nominated = all.find((one) => one.type === "candidate-pair" && one.nominated && one.state === "succeeded");
    const pair = reports.get(inUse) ?? nominated;
    return {
      id: pair?.id,
      local: reports.get(pair?.localCandidateId)?.usernameFragment ?? null,
      remote: reports.get(pair?.remoteCandidateId)?.usernameFragment ?? null,
    };
  },
  async received() {
    const inbound = [...(await this.pc.subscription.getStats()).values()].filter(({ type }) => type === "inbound-rtp");
    const sum = (name) => inbound.reduce((total, one) => total + one[name], 0);
    return { packets: sum("packetsReceived"), lost: sum("packetsLost") };
  },
}, true)
"""
