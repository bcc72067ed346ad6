// Google's double: the keys, accounts, token grants and Firestore documents that the daemon is pointed at.

import { Child } from "./children.js";
import { program } from "./programs.js";

export class Google {
  static async start() {
    const google = new Google();
    google.child = new Child(program("CASTAWAY_GOOGLE_DOUBLE"), [], {});
    const [line] = await google.child.says(/^\{.*\}$/m);
    google.says = JSON.parse(line);
    return google;
  }

  /** The environment that points the daemon here, its private key in the original's odd form. */
  get environment() {
    throw new Error("unknown yet");
  }

  async #admin(method, path, body) {
    const answer = await fetch(this.says.admin + path, {
      method,
      headers: { "content-type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
    const text = await answer.text();
    return text ? JSON.parse(text) : undefined;
  }

  /** Makes the document `livestreams/{id}`, owned by `user`. */
  async livestream(id, user) {}

  /** An ID token of `user`: "valid", "expired", "foreign" (another project's) or "forged" (signed by another key). */
  async token(user, kind = "valid") {}

  /** The fields of `livestreams/{id}`, or undefined when there is no such document. */
  async document(id) {}

  /** From now on `service` fails, or answers late: "keys", "accounts", "documents" (reads), "writes". */
  async trouble(service, how) {}

  /** All services are well again. */
  async heal() {}

  /** How many calls each service had so far. */
  async calls() {}

  stop() {
    return this.child.stop("SIGKILL");
  }
}
