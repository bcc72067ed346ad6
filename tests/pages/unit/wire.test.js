// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";

import { TYPE, decode, encode, putBack } from "../../../clients/js/wire.js";

test("a connect carries its namespace and its auth", () => {
  const packet = encode({ type: TYPE.connect, namespace: "/listener", data: { idToken: "t", livestreamId: "a,b" } });
  assert.deepEqual(packet, { text: '40/listener,{"idToken":"t","livestreamId":"a,b"}', attachments: [] });
});

test("an event with bytes becomes a binary event, and asks for an answer by its id", () => {
  const clip = new Uint8Array([1, 2, 3]);
  const { text, attachments } = encode({ type: TYPE.event, namespace: "/streamer", id: 17, data: ["upload", clip] });
  assert.equal(text, '451-/streamer,17["upload",{"_placeholder":true,"num":0}]');
  assert.deepEqual(attachments, [clip]);
});

test("an answer with bytes becomes a binary answer", () => {
  const { text } = encode({ type: TYPE.ack, namespace: "/", id: 0, data: [new ArrayBuffer(1), new Uint8Array(1)] });
  assert.equal(text, '462-0[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]');
});

test("what is encoded is decoded again, whatever the namespace, the id and the depth", () => {
  for (const namespace of ["/", "/streamer"]) {
    for (const id of [null, 0, 12345]) {
      const data = ["say", { deep: [new Uint8Array([7, 8])] }, "4,2[", null, 3];
      const { text, attachments } = encode({ type: TYPE.event, namespace, id, data });
      const packet = decode(text);
      assert.ok(packet);
      assert.deepEqual([packet.type, packet.namespace, packet.id, packet.attachments], [TYPE.binaryEvent, namespace, id, 1]);
      assert.deepEqual(putBack(packet.data, attachments), data);
    }
  }
});

test("the server's packets are understood as it writes them", () => {
  assert.deepEqual(decode('40/listener,{"sid":"x"}'), { type: 0, namespace: "/listener", id: null, data: { sid: "x" }, attachments: 0 });
  assert.deepEqual(decode("41/listener,"), { type: 1, namespace: "/listener", id: null, data: undefined, attachments: 0 });
  assert.deepEqual(decode('43/streamer,5[{"ok":true}]'), { type: 3, namespace: "/streamer", id: 5, data: [{ ok: true }], attachments: 0 });
  assert.deepEqual(decode('42["error","line\\nbreak"]')?.data, ["error", "line\nbreak"]);
});

test("what is no packet is none, and no error", () => {
  for (const text of ["", "4", "49", "2", '42/listener,["cut', "42{]", "4x"]) assert.equal(decode(text), null, text);
});
