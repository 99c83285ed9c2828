/**
 * Antiphon's client library: everything an application may import.
 *
 *     import { AntiphonClient } from "./client/index.js";
 *     const client = new AntiphonClient();
 *     client.on("roomjoined", ({ room }) => room.on("trackadded", ({ stream }) => play(stream)));
 *     await client.connect("https://talk.example", "Ann");
 *     await client.joinRoom(roomId);
 *     await client.publish(await navigator.mediaDevices.getUserMedia({ audio: true }));
 *
 * No dependencies and no DOM: it runs wherever there are WebSocket and RTCPeerConnection. README.md describes all of it;
 * example.html shows a whole page.
 */

export { AntiphonClient } from "./client.js";
export { AntiphonError, SERVER_ERROR_CODES } from "./errors.js";
export {
  AnnouncementEvent,
  DisconnectedEvent,
  DrainingEvent,
  ErrorEvent,
  ParticipantEvent,
  QualityEvent,
  ReconnectedEvent,
  ReconnectingEvent,
  RoomJoinedEvent,
  RoomLeftEvent,
  RoomMovedEvent,
  SampledEvent,
  StateChangeEvent,
  TrackEvent,
} from "./events.js";
export { createAudioContext, LocalLevel, meterPosition, Smoother, SPEAKING_LEVEL } from "./levels.js";
export { QUALITY_BOUNDS } from "./quality.js";
export { Participant } from "./participant.js";
export { Room } from "./room.js";
export { ConnectionStatistics, HISTORY_MS, SAMPLE_INTERVAL_MS, StatisticsCollector, StreamStatistics } from "./statistics.js";
