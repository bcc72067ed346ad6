// @ts-check
/**
 * Socket.IO 5 packets as Engine.IO 4 carries them over a WebSocket: text, and binary attachments that follow it.
 * Pure: bytes in, bytes out. Source: the Socket.IO and Engine.IO protocol documents.
 */

/** Engine.IO's packet types, as their first character. */
export const PACKET = Object.freeze({ open: "0", close: "1", ping: "2", pong: "3", message: "4", noop: "6" });

/** Socket.IO's packet types. */
export const TYPE = Object.freeze({
  connect: 0,
  disconnect: 1,
  event: 2,
  ack: 3,
  connectError: 4,
  binaryEvent: 5,
  binaryAck: 6,
});

/**
 * @typedef {object} Packet
 * @property {number} type one of `TYPE`
 * @property {string} namespace
 * @property {number | null} id of the acknowledgement that is asked for or given
 * @property {any} data
 * @property {number} attachments how many binary messages follow
 */

/** @param {unknown} value @returns {value is Uint8Array | ArrayBuffer} */
const isBinary = (value) => value instanceof Uint8Array || value instanceof ArrayBuffer;

/**
 * Replaces every binary value by its placeholder.
 * @param {any} value
 * @param {Uint8Array[]} attachments where the binary values go, in order
 * @returns {any}
 */
function takeOut(value, attachments) {
  if (isBinary(value)) {
    attachments.push(value instanceof ArrayBuffer ? new Uint8Array(value) : value);
    return { _placeholder: true, num: attachments.length - 1 };
  }
  if (Array.isArray(value)) return value.map((item) => takeOut(item, attachments));
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, takeOut(item, attachments)]));
}

/**
 * The reverse of `takeOut`.
 * @param {any} value
 * @param {Uint8Array[]} attachments
 * @returns {any}
 */
export function putBack(value, attachments) {
  if (value === null || typeof value !== "object") return value;
  if (Array.isArray(value)) return value.map((item) => putBack(item, attachments));
  if (value._placeholder === true) return attachments[value.num];
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, putBack(item, attachments)]));
}

/**
 * @param {{type: number, namespace: string, id?: number | null, data?: any}} packet an event or an acknowledgement
 *   with binary values becomes the binary kind by itself
 * @returns {{text: string, attachments: Uint8Array[]}} a WebSocket text message, and the binary ones to send after it
 */
export function encode({ type, namespace, id = null, data }) {
  /** @type {Uint8Array[]} */
  const attachments = [];
  const bare = data === undefined ? undefined : takeOut(data, attachments);
  const kind = attachments.length === 0 ? type : type === TYPE.event ? TYPE.binaryEvent : TYPE.binaryAck;
  const text = [
    PACKET.message,
    kind,
    attachments.length > 0 ? `${attachments.length}-` : "",
    namespace === "/" ? "" : `${namespace},`,
    id ?? "",
    bare === undefined ? "" : JSON.stringify(bare),
  ].join("");
  return { text, attachments };
}

const SHAPE = /^4([0-6])(?:(\d+)-)?(?:(\/[^,]*),)?(\d+)?(.*)$/s;

/**
 * @param {string} text a WebSocket text message whose Engine.IO type is `message`
 * @returns {Packet | null} null for what is no packet
 */
export function decode(text) {
  const found = SHAPE.exec(text);
  if (!found) return null;
  const [, type, attachments, namespace, id, json] = found;
  try {
    return {
      type: Number(type),
      namespace: namespace ?? "/",
      id: id === undefined ? null : Number(id),
      data: json ? JSON.parse(json) : undefined,
      attachments: Number(attachments ?? 0),
    };
  } catch {
    return null;
  }
}
