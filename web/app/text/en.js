/** The page in English. A text with something in it is a function; every other language has the same keys (checked by tsc and by a test). */

export const EN = {
  // ------------------------------------------------------------------ frame
  startPage: "Antiphon, start page",
  description: "Talk with people in one room, from the browser.",
  needsScript: "Antiphon needs JavaScript.",
  dismiss: "Dismiss",
  settings: "Settings",
  settingsShort: "Settings",
  notices: "Notices",
  disconnectedStatus: "Disconnected",
  status: {
    disconnected: "Disconnected",
    connecting: "Connecting",
    connected: "Connected",
    in_room: "In room",
    reconnecting: "Reconnecting",
  },

  // ------------------------------------------------------------------ lobby
  headline: "Talk together",
  lead: "Open a room, send its link, and speak. Nothing to install.",
  invitation: "You are invited to a room. Say who you are, then join.",
  yourName: "Your name",
  username: "Username",
  usernameExample: "What others see",
  connect: "Connect to Server",
  disconnect: "Disconnect",
  yourMicrophone: "Your microphone",
  requestMicrophone: "Request Microphone Access",
  microphoneOptional: "Without it you can still listen.",
  microphoneLevel: "Microphone level",
  changeDevice: "Change",
  room: "Room",
  createRoom: "Create New Room",
  orJoin: "or join one",
  orCreate: "or open your own",
  roomId: "Room ID",
  roomIdExample: "ID or link",
  joinRoom: "Join Room",
  connectFirst: "Connect first.",
  enterName: "Enter your name first.",
  enterRoom: "Enter the ID of a room, or paste its link.",

  // ------------------------------------------------------------------ room
  peopleInRoom: "People in the room",
  callControls: "Call controls",
  copyLink: "Copy Room Link",
  shareLink: "Share",
  shareTitle: "Talk with me on Antiphon",
  turnOnSound: "Turn On Sound",
  alone: "You are the only one here",
  aloneHint: "Send the room’s link to someone. Whoever opens it can join.",
  mute: "Mute",
  unmute: "Unmute",
  deafen: "Deafen",
  undeafen: "Undeafen",
  leaveRoom: "Leave Room",
  leave: "Leave",
  holdToTalk: "Hold Space to talk",
  you: "(you)",
  microphoneOn: "Microphone on",
  muted: "Muted",
  mutedForYou: "Muted for you",
  listening: "Listening only",
  connecting: "Connecting …",
  quality: { good: "Good connection", fair: "Unsteady connection", poor: "Poor connection" },
  /** @param {string} name */
  optionsFor: (name) => `Options for ${name}`,
  volume: "Volume",
  /** @param {string} name */
  volumeOf: (name) => `Volume of ${name}`,
  muteForMe: "Mute for me",
  close: "Close",
  /** @param {number} count */
  people: (count) => (count === 1 ? "1 person here" : `${count} people here`),

  // ------------------------------------------------------------------ settings
  microphone: "Microphone",
  speaker: "Speaker",
  systemDefault: "System default",
  /** @param {number} number */
  unnamedDevice: (number) => `Device ${number}`,
  devicesHidden: "The browser names your devices once it may use the microphone.",
  inputLevel: "Input level",
  echoCancellation: "Echo cancellation",
  echoCancellationHint: "Keeps what comes out of your speakers out of your microphone.",
  noiseSuppression: "Noise suppression",
  noiseSuppressionHint: "Takes away fans, keyboards and traffic.",
  autoGainControl: "Automatic gain control",
  autoGainControlHint: "Makes quiet and loud voices alike.",
  testSound: "Play Test Sound",
  callSounds: "Sounds for join and leave",
  callSoundsHint: "A short tone when somebody comes or goes.",
  keyboard: "Keyboard",
  keyMute: "Mute or unmute",
  keyTalk: "Hold to talk while muted",
  keyDeafen: "Deafen or undeafen",
  keySpace: "Space",
  done: "Done",

  // ------------------------------------------------------------------ statistics
  showStatistics: "Show detailed statistics",
  statistics: "Statistics",
  downloadStatistics: "Download statistics",
  noConnections: "No sound goes to or from the server yet.",
  sentConnection: "Your microphone",
  heardConnection: "What you hear",
  /** @param {string} name */
  heardFrom: (name) => `What you hear of ${name}`,
  streamShown: "Show",
  everyoneTogether: "Everyone together",
  /** @type {Record<string, string>} */
  connectionState: {
    new: "Starting",
    connecting: "Connecting",
    connected: "Connected",
    disconnected: "Interrupted",
    failed: "Failed",
    closed: "Closed",
  },
  codec: "Codec",
  packets: "Packets",
  /**
   * @param {string} count
   * @param {string} lost
   */
  packetsOf: (count, lost) => `${count}, ${lost} lost`,
  icePath: "ICE path",
  bitrate: "Bitrate",
  packetLoss: "Packet loss",
  jitter: "Jitter",
  roundTrip: "Round trip",
  audioLevel: "Audio level",
  jitterBuffer: "Jitter buffer",
  /** @param {string} label */
  chartOf: (label) => `Chart: ${label} over the last two minutes`,
  /** @param {number} minutes */
  minutesAgo: (minutes) => `−${minutes} min`,

  // ------------------------------------------------------------------ notices
  linkCopied: "Link copied",
  /** @param {string} link */
  copyByHand: (link) => `This browser did not let the page copy. The link is ${link}`,
  /** @param {string} name */
  joined: (name) => `${name} joined`,
  /** @param {string} name */
  left: (name) => `${name} left`,
  /** @param {string} name */
  theyMuted: (name) => `${name} is muted`,
  /** @param {string} name */
  theyUnmuted: (name) => `${name} is no longer muted`,
  youMuted: "You are muted",
  youUnmuted: "Your microphone is on",
  youDeafened: "You hear nobody",
  youUndeafened: "You hear the room again",
  /** @param {string} device */
  usingMicrophone: (device) => `Microphone: ${device}`,
  /** @param {string} device */
  usingSpeaker: (device) => `Speaker: ${device}`,
  disconnected: "Disconnected from the server",
  reconnecting: "The connection was lost. Reconnecting …",
  reconnected: "Connected again",
  roomMoved: "The room moves to another server. One moment …",
  /** Why a call ended that nobody here has left. @type {Record<string, string>} */
  leftBecause: {
    removed: "The operator has taken you out of the room.",
    room_closed: "The operator has ended this room.",
    server_draining: "The server of this room was stopped. Open a new room.",
    not_found: "The room was gone when the connection came back.",
  },
  /** @param {string} message */
  announcement: (message) => `From the operator: ${message}`,
  /** @param {number} seconds */
  draining: (seconds) => `The server stops in ${Math.round(seconds)} seconds. You will have to connect again.`,

  // ------------------------------------------------------------------ tab's title
  titleDeafened: "Deafened",
  /** @param {number} count */
  titlePeople: (count) => (count === 1 ? "1 person" : `${count} people`),

  // ------------------------------------------------------------------ no microphone
  /** What happened, and then how to mend it, step by step. */
  microphoneProblem: {
    denied: "The browser was not allowed to use your microphone.",
    system: "The system does not let the browser use your microphone.",
    missing: "No microphone was found.",
    busy: "Your microphone is in use by another program.",
    insecure: "Browsers give the microphone only to pages opened through https or on localhost.",
    ended: "Your microphone was unplugged or taken away.",
    failed: "Your microphone could not be started.",
  },
  microphoneWayOut: {
    denied: [
      "Press the sign to the left of the page’s address.",
      "Set the microphone to “Allow”.",
      "Ask again here. If nothing happens, reload the page.",
    ],
    system: ["Open the privacy settings of your system.", "Let the browser use the microphone.", "Start the browser again."],
    missing: ["Plug a microphone or headset in.", "It is used by itself; if not, ask again."],
    busy: ["Close the other program, or its call.", "Ask again here."],
    insecure: ["Open the page with https:// before its address.", "Until then you can listen."],
    ended: ["Plug it in again, or another one.", "It is used by itself; if not, ask again."],
    failed: ["Close other programs that use the microphone.", "Ask again here. If that does not help, start the browser again."],
  },

  // ------------------------------------------------------------------ errors, by the code of an AntiphonError; others show their own sentence
  /** @type {Record<string, string>} */
  errors: {
    unreachable: "The server cannot be reached. Check your network, then try again.",
    disconnected: "The connection to the server was lost.",
    timeout: "The server did not answer in time. Try again.",
    unsupported: "This browser cannot make calls: it has no WebRTC.",
    invalid_username: "This name cannot be used. Take another one.",
    room_not_found: "There is no such room. Check the link, or open a new room.",
    room_full: "The room is full.",
    too_many_rooms: "The server has no place for another room now. Try again later.",
    too_many_consumers: "You hear as many people as this server allows.",
    rate_limited: "That was too fast. Wait a moment, then try again.",
    shard_full: "The media server of this room is full.",
    shard_unavailable: "The media server of this room does not answer. Try again in a moment.",
    connection_failed: "No media connection to the server came up. A firewall may be in the way.",
  },
};
