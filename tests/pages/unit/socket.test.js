// @ts-check
import assert from "node:assert/strict";
import { beforeEach, mock, test } from "node:test";

import { Connection, endpoint } from "../../../clients/js/connection.js";

/** A server's end of a WebSocket. */
class Wire {
  /** @type {(string | Uint8Array)[]} */ sent = [];
  closed = false;
  /** @type {((event: {data: any}) => void) | null} */ onmessage = null;
  /** @type {(() => void) | null} */ onclose = null;

  /** @param {string | Uint8Array} message */
  send(message) {
    this.sent.push(message);
  }
  close() {
    this.closed = true;
  }
  /** @param {any[]} messages */
  says(...messages) {
    for (const data of messages) this.onmessage?.({ data });
  }
  joins() {
    this.says('0{"sid":"e","pingInterval":10000,"pingTimeout":5000}', '40/listener,{"sid":"s"}');
  }
}

/** @type {Wire[]} */
let wires = [];
/** @type {any[][]} */
let happened = [];
let token = "first";

beforeEach(() => {
  mock.timers.reset();
  mock.timers.enable({ apis: ["setTimeout"] });
  [wires, happened, token] = [[], [], "first"];
});

const last = () => /** @type {Wire} */ (wires.at(-1));

function connect() {
  return new Connection({
    url: "ws://server/",
    namespace: "/listener",
    auth: () => ({ idToken: token }),
    open: () => /** @type {any} */ (wires[wires.push(new Wire()) - 1]),
    random: () => 0.5,
    on: {
      joined: () => happened.push(["joined"]),
      event: (...it) => happened.push(it),
      left: () => happened.push(["left"]),
      lost: (ms) => happened.push(["lost", ms]),
    },
  });
}

test("the endpoint is the page's own host, and has no token in it", () => {
  const at = endpoint(new URL("https://radio.example:3000/listen#livestream=demo&token=secret"));
  assert.equal(at, "wss://radio.example:3000/socket.io/?EIO=4&transport=websocket");
  assert.equal(endpoint(new URL("http://localhost:3000/")), "ws://localhost:3000/socket.io/?EIO=4&transport=websocket");
});

test("it joins its namespace with its auth, and answers pings", () => {
  const connection = connect();
  last().joins();
  last().says("2");
  assert.deepEqual(last().sent, ['40/listener,{"idToken":"first"}', "3"]);
  assert.deepEqual(happened, [["joined"]]);
  assert.equal(connection.joined, true);
});

test("an event is handed on once its bytes are there, and events of other namespaces are not", () => {
  connect();
  last().joins();
  last().says('451-/listener,["audio",{"_placeholder":true,"num":0}]');
  assert.equal(happened.length, 1);
  last().says(new Uint8Array([9, 8]).buffer, '42/streamer,["success","x"]');
  assert.deepEqual(happened.slice(1), [["audio", new Uint8Array([9, 8])]]);
});

test("an answer finds who asked", async () => {
  const connection = connect();
  last().joins();
  const answers = [connection.ask(1000, "upload", new Uint8Array([1])), connection.ask(1000, "upload", new Uint8Array([2]))];
  last().says('43/listener,1[{"sequence":2}]', '43/listener,0[{"sequence":1}]');
  assert.deepEqual(await Promise.all(answers), [{ sequence: 1 }, { sequence: 2 }]);
});

test("a question that is not answered in time ends the transport, and is refused", async () => {
  const connection = connect();
  last().joins();
  const answer = connection.ask(1000, "upload", 1);
  mock.timers.tick(1000);
  await assert.rejects(answer, /connection lost/);
  assert.equal(wires[0]?.closed, true);
  assert.deepEqual(happened.at(-1), ["lost", 150]);
  await assert.rejects(connection.ask(1000, "upload", 1), /not connected/);
});

test("a lost transport comes back by itself, with the token of that moment", () => {
  connect();
  last().joins();
  token = "second";
  last().onclose?.();
  mock.timers.tick(150);
  last().joins();
  assert.equal(wires.length, 2);
  assert.equal(last().sent[0], '40/listener,{"idToken":"second"}');
  assert.deepEqual(happened, [["joined"], ["lost", 150], ["joined"]]);
});

test("it waits longer from try to try, until the server has something good to say", () => {
  connect();
  for (let tries = 0; tries < 7; tries++) {
    last().joins();
    last().says('42/listener,["error","Service is temporarily unavailable, try again."]');
    last().onclose?.();
    mock.timers.tick(5_000);
  }
  const waits = () => happened.filter(([what]) => what === "lost").map(([, ms]) => ms);
  assert.deepEqual(waits(), [150, 400, 1_000, 2_000, 4_000, 5_000, 5_000]);
  last().joins();
  last().says('42/listener,["success","in"]');
  last().onclose?.();
  assert.equal(waits().at(-1), 150);
});

test("silence for longer than the server's pings allow is a lost transport", () => {
  connect();
  last().joins();
  mock.timers.tick(14_000);
  last().says("2");
  mock.timers.tick(14_999);
  assert.equal(happened.length, 1);
  mock.timers.tick(1);
  assert.deepEqual(happened.at(-1), ["lost", 150]);
});

test("a server that does not let it join is left after a while", () => {
  connect();
  last().says('0{"sid":"e"}');
  mock.timers.tick(8_000);
  assert.deepEqual(happened, [["lost", 150]]);
});

test("the server's DISCONNECT is final", () => {
  connect();
  last().joins();
  last().says('42/listener,["error","no"]', "41/listener,");
  mock.timers.tick(60_000);
  assert.deepEqual(happened, [["joined"], ["error", "no"], ["left"]]);
  assert.equal(wires.length, 1);
});

test("leaving is said to the server, and is final", () => {
  const connection = connect();
  last().joins();
  connection.close();
  mock.timers.tick(60_000);
  assert.equal(last().sent.at(-1), "41/listener,");
  assert.deepEqual([wires.length, last().closed, happened.length], [1, true, 1]);
  connection.hurry();
  assert.equal(wires.length, 1);
});

test("hurrying skips the wait and opens no second transport", () => {
  const connection = connect();
  connection.hurry();
  assert.equal(wires.length, 1);
  last().onclose?.();
  connection.hurry();
  mock.timers.tick(150);
  assert.equal(wires.length, 2);
});
