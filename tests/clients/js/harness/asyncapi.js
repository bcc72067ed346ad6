// docs/asyncapi.yaml: what the server may send in each namespace, and what it may answer.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import Ajv from "ajv";
import { load } from "js-yaml";

export const text = readFileSync(new URL("../../../../docs/asyncapi.yaml", import.meta.url), "utf8");
export const document = load(text);

/** What a `$ref` of the document leads to, through as many as there are. */
export function resolve(value) {
  while (value?.$ref) value = value.$ref.split("/").slice(1).reduce((at, key) => at[key], document);
  return value;
}

const ajv = new Ajv({ allErrors: true, strict: false });
ajv.addFormat("binary", true);
ajv.addSchema(document, "asyncapi");

const compiled = new Map();

function validator(message) {
  if (!compiled.has(message)) {
    // Its references lead into the document.
    const schema = JSON.parse(JSON.stringify(message.payload).replaceAll('"#/', '"asyncapi#/'));
    compiled.set(message, ajv.compile(schema));
  }
  return compiled.get(message);
}

/** The payload, with texts for bytes. */
function textual(payload) {
  if (Buffer.isBuffer(payload)) return payload.toString("latin1", 0, 32);
  if (payload === null || typeof payload !== "object") return payload;
  return Object.fromEntries(Object.entries(payload).map(([name, value]) => [name, textual(value)]));
}

/** Fails if `payload` is none of `message`. To a schema, bytes are a text. */
function fits(message, payload, what) {
  const isBinary = message.contentType === "application/octet-stream";
  assert.equal(Buffer.isBuffer(payload), isBinary, `docs/asyncapi.yaml: ${what} is ${isBinary ? "" : "not "}binary`);
  for (const [name, schema] of Object.entries(message.payload.properties ?? {})) {
    if (resolve(schema).format === "binary") assert.ok(Buffer.isBuffer(payload?.[name]), `docs/asyncapi.yaml: ${what} has binary ${name}`);
  }
  const validate = validator(message);
  const shown = textual(payload);
  assert.ok(validate(shown), `docs/asyncapi.yaml: ${what} ${JSON.stringify(shown)}: ${ajv.errorsText(validate.errors)}`);
}

/** Whose `message` the server sends or receives, and the `answer` to what it receives, if there is one. */
const operations = Object.values(document.operations).map(({ action, channel, messages, reply }) => ({
  action,
  namespace: resolve(channel).address,
  message: resolve(messages[0]),
  answer: resolve(reply?.messages[0]),
}));

/** The operations of a namespace, by the name of their event: those that the server sends, or those that it receives. */
function inNamespace(namespace, action) {
  const wanted = operations.filter((it) => it.namespace === namespace && it.action === action);
  return new Map(wanted.map((it) => [it.message.name, it]));
}

/** Fails unless the server may send event `name` with `payload` in `namespace`. */
export function mayBeSent(namespace, name, payload) {
  const operation = inNamespace(namespace, "send").get(name);
  assert.ok(operation, `docs/asyncapi.yaml: the server sends no ${name} in ${namespace}`);
  fits(operation.message, payload, `${name} in ${namespace}`);
}

/** Fails unless the server may answer event `name` in `namespace` with `answer`. */
export function mayBeAnswered(namespace, name, answer) {
  const operation = inNamespace(namespace, "receive").get(name);
  assert.ok(operation?.answer, `docs/asyncapi.yaml: the server answers no ${name} in ${namespace}`);
  fits(operation.answer, answer, `the ack of ${name} in ${namespace}`);
}

/** Whether any event or ack of the server may say `text`. */
export function maySay(text) {
  const payloads = [text, { ok: false, error: text }];
  const messages = operations.map(({ action, message, answer }) => (action === "send" ? message : answer));
  const said = messages.filter((it) => it && !it.contentType).map(validator);
  return said.some((validate) => payloads.some((payload) => validate(payload)));
}

/** The names of all events, of both directions. */
export const events = new Set(
  operations.map(({ message }) => message).filter((it) => !it["x-socketio-packet"]).map(({ name }) => name),
);

/** The addresses of all channels. */
export const namespaces = new Set(Object.values(document.channels).map(({ address }) => address));
