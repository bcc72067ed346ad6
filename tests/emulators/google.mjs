// Google's emulators as processes of ours, and the few of their calls that the suite needs.

import { createServer } from "node:net";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { Child } from "../clients/js/harness/children.js";
import { eventually } from "../clients/js/harness/server.js";

export const PROJECT = "demo-castaway";

async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function answers(url) {
  try {
    return (await fetch(url)).status < 500;
  } catch {
    return false;
  }
}

export async function startFirestore(jar) {
  const port = await freePort();
  const main = "com.google.cloud.datastore.emulator.firestore.CloudFirestore";
  const child = new Child("java", ["-cp", jar, main, "--host=127.0.0.1", `--port=${port}`], {});
  await eventually(() => answers(`http://127.0.0.1:${port}/`), "the Firestore emulator answers", 60_000);
  return { host: `127.0.0.1:${port}`, child };
}

export async function startAuth(directory, tools) {
  const [port, hub, logging] = [await freePort(), await freePort(), await freePort()];
  const at = (port) => ({ host: "127.0.0.1", port });
  const home = join(directory, "home");
  mkdirSync(home);
  writeFileSync(
    join(directory, "firebase.json"),
    JSON.stringify({ emulators: { auth: at(port), hub: at(hub), logging: at(logging), ui: { enabled: false } } }),
  );
  const firebase = join(tools, "node_modules/firebase-tools/lib/bin/firebase.js");
  const environment = { HOME: home, XDG_CONFIG_HOME: home, CI: "1" };
  const emulator = [firebase, "emulators:start", "--only", "auth", "--project", PROJECT];
  const child = new Child("node", emulator, environment, directory);
  await eventually(() => answers(`http://127.0.0.1:${port}/`), "the Auth emulator answers", 120_000);
  return { host: `127.0.0.1:${port}`, child };
}

const ADMINISTRATOR = { authorization: "Bearer owner" };

async function call(url, body, identity = ADMINISTRATOR) {
  const response = await fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json", ...identity },
    body: JSON.stringify(body),
  });
  if (!response.ok) throw new Error(`${url}: ${response.status} ${await response.text()}`);
  return response.json();
}

/** The Auth emulator's users. */
export class Users {
  constructor(host) {
    this.base = `http://${host}/identitytoolkit.googleapis.com/v1`;
  }

  async signUp() {
    // As an app does it: who signs up as an administrator gets no token.
    const app = { "x-goog-api-key": "any" };
    const { idToken, localId } = await call(`${this.base}/accounts:signUp`, { returnSecureToken: true }, app);
    return { id: localId, token: idToken };
  }

  async disable(user) {
    await call(`${this.base}/projects/${PROJECT}/accounts:update`, { localId: user.id, disableUser: true });
  }

  async delete(user) {
    await call(`${this.base}/projects/${PROJECT}/accounts:delete`, { localId: user.id });
  }
}

const plain = (fields) => Object.fromEntries(Object.entries(fields).map(([key, value]) => [key, Object.values(value)[0]]));

/** The Firestore emulator's livestreams, and the uploads of the app. */
export class Livestreams {
  constructor(host) {
    this.name = `projects/${PROJECT}/databases/(default)/documents`;
    this.base = `http://${host}/v1/${this.name}`;
  }

  async put(id, artist) {
    const fields = {
      artistId: { stringValue: artist.id },
      streamerConnected: { booleanValue: false },
      title: { stringValue: "a talk" },
    };
    await call(`${this.base}:commit`, { writes: [{ update: { name: `${this.name}/livestreams/${id}`, fields } }] });
  }

  async delete(id) {
    await call(`${this.base}:commit`, { writes: [{ delete: `${this.name}/livestreams/${id}` }] });
  }

  /** The fields, plain; undefined if there is no document. */
  async get(id) {
    const [answer] = await call(`${this.base}:batchGet`, { documents: [`${this.name}/livestreams/${id}`] });
    return answer.found && plain(answer.found.fields);
  }

  /** The documents of uploads: the fields by the id. */
  async uploads() {
    const answers = await call(`${this.base}:runQuery`, { structuredQuery: { from: [{ collectionId: "uploads" }] } });
    const documents = answers.flatMap(({ document }) => document ?? []);
    return Object.fromEntries(documents.map(({ name, fields }) => [name.split("/").at(-1), plain(fields)]));
  }

  async putUpload(id, fields) {
    await call(`${this.base}:commit`, { writes: [{ update: { name: `${this.name}/uploads/${id}`, fields } }] });
  }

  async says(id, connected) {
    const says = async () => (await this.get(id))?.streamerConnected === connected;
    await eventually(says, `${id} says streamerConnected: ${connected}`, 10_000);
  }
}
