/**
 * Who is in a room, as the server tells it anew to a client that was away: `room_joined` and what follows it, folded into one picture
 * that a room can be compared with.
 */

/** @typedef {import("./messages.js").Person} Person */
/** @typedef {import("./messages.js").ServerMessage} ServerMessage */

/**
 * @typedef {object} Entry
 * @property {Person} person
 * @property {boolean} publishing
 * @property {boolean} muted
 * @property {boolean} renewed has published anew: what was heard of this person before is over
 */

export class Roster {
  /** @type {Map<string, Entry>} by user id, in the order in which they came */
  entries = new Map();

  /** @param {Person[]} people */
  constructor(people) {
    for (const person of people) this.#entry(person);
  }

  /** What the server says next. @param {ServerMessage} message */
  fold(message) {
    switch (message.type) {
      case "user_joined":
        this.#entry(message);
        break;
      case "user_left":
        this.entries.delete(message.user_id);
        break;
      case "new_publisher":
        this.#entry(message).publishing = true;
        break;
      case "publisher_closed":
        this.#change(message.user_id, { publishing: false, renewed: true });
        break;
      case "user_muted":
        this.#change(message.user_id, { muted: message.muted });
        break;
      case "room_moved":
        for (const userId of this.entries.keys()) this.#change(userId, { publishing: false, renewed: true });
        break;
      default:
        break;
    }
  }

  /** @param {Person} person */
  #entry({ user_id, username, muted = false }) {
    const entry = this.entries.get(user_id) ?? { person: { user_id, username }, publishing: false, muted, renewed: false };
    this.entries.set(user_id, entry);
    return entry;
  }

  /**
   * @param {string} userId
   * @param {Partial<Entry>} change
   */
  #change(userId, change) {
    const entry = this.entries.get(userId);
    if (entry) Object.assign(entry, change);
  }
}
