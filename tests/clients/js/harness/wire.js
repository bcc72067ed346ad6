// A TCP wire between a client and the server that a test can cut, freeze, or plug into another server.

import net from "node:net";
import { once } from "node:events";

export class Wire {
  /** A wire on a free port that leads to `target` (a URL). */
  static async to(target) {
    const wire = new Wire();
    wire.plug(target);
    wire.server = net.createServer((near) => wire.#join(near));
    wire.server.listen(0, "127.0.0.1");
    await once(wire.server, "listening");
    wire.url = `http://127.0.0.1:${wire.server.address().port}`;
    return wire;
  }

  pairs = new Set();
  open = true;

  plug(target) {
    this.port = Number(new URL(target).port);
  }

  #join(near) {
    if (!this.open) return near.destroy();
    const far = net.connect(this.port, "127.0.0.1");
    const pair = { near, far };
    this.pairs.add(pair);
    const end = () => {
      near.destroy();
      far.destroy();
      this.pairs.delete(pair);
    };
    for (const side of [near, far]) side.setNoDelay(true).on("error", end).on("close", end);
    near.pipe(far);
    far.pipe(near);
  }

  /** Every connection dies; with `stay`, new ones are refused until `mend`. */
  cut({ stay = false } = {}) {
    this.open = !stay;
    for (const { near, far } of this.pairs) {
      near.destroy();
      far.destroy();
    }
  }

  mend() {
    this.open = true;
  }

  /** Nothing passes from now on, and neither end notices: a phone in a tunnel. */
  freeze() {
    this.open = false;
    for (const { near, far } of this.pairs) {
      near.unpipe(far).pause();
      far.unpipe(near).pause();
    }
  }

  close() {
    this.cut({ stay: true });
    this.server.close();
  }
}
