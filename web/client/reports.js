/**
 * What one `getStats()` of a connection says, in the same words for every browser. Pure: a report goes in, numbers come out.
 *
 * Where browsers differ (Chromium 156, Firefox 153): Firefox has no level of the microphone (`media-source.audioLevel`), wraps
 * track ids in braces (so does `track.id` there), and older ones have no `transport`, only a `selected` candidate pair; a
 * `nominated` one exists in both. Loss, jitter and round trip of what is sent come from the server's receiver reports
 * (RFC 3550 6.4.1), once a second.
 */

/**
 * One end of the path on which media flows. Never a user name fragment or a password: what is here may be shown and exported.
 *
 * @typedef {object} PathEnd
 * @property {string} type `host`, `srflx`, `prflx` or `relay` (RFC 8445 4)
 * @property {string} protocol `udp` or `tcp`
 * @property {string} address as the browser tells it; `""` where it does not, and a `.local` name where it hides it
 * @property {number} port
 * @property {string | null} relayProtocol how the TURN server is reached, for `relay`
 */

/**
 * @typedef {object} Path
 * @property {PathEnd} local
 * @property {PathEnd} remote the server
 */

/**
 * @typedef {object} Encryption
 * @property {string | null} dtlsState `connected` when keys are agreed
 * @property {string | null} tlsVersion as people write it: `DTLS 1.2`
 * @property {string | null} dtlsCipher of the handshake, by its IANA name
 * @property {string | null} srtpCipher of the media
 */

/**
 * @typedef {object} Codec
 * @property {string} mimeType `audio/opus`
 * @property {number} payloadType
 * @property {number | null} clockRate Hz
 * @property {number | null} channels
 * @property {string} parameters the SDP's fmtp line
 */

/**
 * One RTP stream at one moment. Counters are totals since it began; null is what this browser, or the server, has not said.
 *
 * @typedef {object} StreamReading
 * @property {string} id another id is another stream, and its counters have another origin
 * @property {string | null} mid
 * @property {string | null} trackId
 * @property {number} atMs the browser's time of these numbers
 * @property {Codec | null} codec
 * @property {number} packets sent or received
 * @property {number} bytes of payload
 * @property {number | null} packetsLost
 * @property {number | null} fractionLost 0..1, of the server's last report about what is sent
 * @property {number | null} jitterMs
 * @property {number | null} roundTripMs of the RTP stream itself
 * @property {number | null} audioLevel linear, 0..1
 * @property {number | null} jitterBufferDelayS sum over all samples that have left the buffer
 * @property {number | null} jitterBufferSamples how many have left it
 * @property {number | null} samples played
 * @property {number | null} concealedSamples of these made up, those that only stood in for silence left out
 */

/**
 * @typedef {object} ConnectionReading
 * @property {Path | null} path null until there is one
 * @property {number | null} roundTripMs of the path, by its connectivity checks
 * @property {Encryption} encryption
 * @property {StreamReading[]} streams
 */

const TLS_VERSIONS = new Map([
  ["FEFF", "DTLS 1.0"],
  ["FEFD", "DTLS 1.2"],
  ["FEFC", "DTLS 1.3"],
]);

/**
 * @param {"send" | "receive"} direction
 * @param {Iterable<any>} report the values of an RTCStatsReport
 * @returns {ConnectionReading}
 */
export function readConnection(direction, report) {
  const all = [...report];
  const byId = new Map(all.map((entry) => [entry.id, entry]));
  const transport = all.find(({ type }) => type === "transport");
  const pair = selectedPair(all, byId.get(transport?.selectedCandidatePairId));
  const wanted = direction === "send" ? "outbound-rtp" : "inbound-rtp";
  const read = direction === "send" ? readSent : readReceived;
  return {
    path: readPath(byId.get(pair?.localCandidateId), byId.get(pair?.remoteCandidateId)),
    roundTripMs: milliseconds(pair?.currentRoundTripTime),
    encryption: readEncryption(transport),
    streams: all.filter(({ type, kind }) => type === wanted && kind === "audio").map((entry) => read(entry, byId)),
  };
}

/**
 * @param {any[]} all
 * @param {any} ofTransport
 */
function selectedPair(all, ofTransport) {
  if (ofTransport) return ofTransport;
  const pairs = all.filter(({ type }) => type === "candidate-pair");
  return pairs.find(({ selected }) => selected) ?? pairs.find(({ nominated, state }) => nominated && state === "succeeded");
}

/**
 * @param {any} local
 * @param {any} remote
 * @returns {Path | null}
 */
function readPath(local, remote) {
  return local && remote ? { local: readEnd(local), remote: readEnd(remote) } : null;
}

/** @param {any} candidate @returns {PathEnd} */
function readEnd({ candidateType, protocol, address, port, relayProtocol }) {
  return { type: candidateType, protocol, address: address ?? "", port: port ?? 0, relayProtocol: relayProtocol ?? null };
}

/** @param {any} transport @returns {Encryption} */
function readEncryption(transport) {
  const version = transport?.tlsVersion ?? null;
  return {
    dtlsState: transport?.dtlsState ?? null,
    tlsVersion: TLS_VERSIONS.get(version) ?? version,
    dtlsCipher: transport?.dtlsCipher ?? null,
    srtpCipher: transport?.srtpCipher ?? null,
  };
}

/** @param {any} codec @returns {Codec | null} */
function readCodec(codec) {
  if (!codec) return null;
  const { mimeType, payloadType, clockRate, channels, sdpFmtpLine } = codec;
  return { mimeType, payloadType, clockRate: clockRate ?? null, channels: channels ?? null, parameters: sdpFmtpLine ?? "" };
}

/**
 * @param {any} entry outbound-rtp
 * @param {Map<string, any>} byId
 * @returns {StreamReading}
 */
function readSent(entry, byId) {
  const reported = byId.get(entry.remoteId); // remote-inbound-rtp: what the server's receiver reports said
  const source = byId.get(entry.mediaSourceId) ?? [...byId.values()].find(({ type }) => type === "media-source");
  return {
    ...NOTHING_PLAYED,
    ...readCommon(entry, byId),
    trackId: source?.trackIdentifier ?? null,
    packets: entry.packetsSent ?? 0,
    bytes: entry.bytesSent ?? 0,
    packetsLost: reported?.packetsLost ?? null,
    fractionLost: reported?.fractionLost ?? null,
    jitterMs: milliseconds(reported?.jitter),
    roundTripMs: milliseconds(reported?.roundTripTime),
    audioLevel: source?.audioLevel ?? null,
  };
}

const NOTHING_PLAYED = { jitterBufferDelayS: null, jitterBufferSamples: null, samples: null, concealedSamples: null };

/**
 * @param {any} entry inbound-rtp
 * @param {Map<string, any>} byId
 * @returns {StreamReading}
 */
function readReceived(entry, byId) {
  const concealed = entry.concealedSamples ?? null;
  return {
    ...readCommon(entry, byId),
    trackId: entry.trackIdentifier ?? null,
    packets: entry.packetsReceived ?? 0,
    bytes: entry.bytesReceived ?? 0,
    packetsLost: entry.packetsLost ?? null,
    fractionLost: null,
    jitterMs: milliseconds(entry.jitter),
    roundTripMs: null,
    audioLevel: entry.audioLevel ?? null,
    jitterBufferDelayS: entry.jitterBufferDelay ?? null,
    jitterBufferSamples: entry.jitterBufferEmittedCount ?? null,
    samples: entry.totalSamplesReceived ?? null,
    concealedSamples: concealed === null ? null : concealed - (entry.silentConcealedSamples ?? 0),
  };
}

/**
 * @param {any} entry
 * @param {Map<string, any>} byId
 */
function readCommon(entry, byId) {
  return { id: entry.id, mid: entry.mid ?? null, atMs: entry.timestamp, codec: readCodec(byId.get(entry.codecId)) };
}

/** @param {number | undefined} seconds */
function milliseconds(seconds) {
  return seconds === undefined ? null : seconds * 1000;
}
