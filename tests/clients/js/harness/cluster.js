// With CASTAWAY_CLUSTER_REDIS, a Redis URL, each world has two nodes: streamers come to one, listeners to the other.

import { test as always } from "node:test";
import { settings } from "./settings.js";

const redis = process.env.CASTAWAY_CLUSTER_REDIS;
const aboutOneProcess = settings.one_process.js;

export const clustered = Boolean(redis);

let names = 0;
const name = () => `js-${process.pid}-${(names += 1)}`;

/** A cluster of a world's own; its `node()` is the environment of one more node. None without Redis. */
export function newCluster() {
  const prefix = `castaway-${name()}`;
  return {
    node: () =>
      clustered
        ? {
            CASTAWAY_CLUSTER__URL: redis,
            CASTAWAY_CLUSTER__PREFIX: prefix,
            CASTAWAY_CLUSTER__NODE: name(),
            ...settings.node,
          }
        : {},
  };
}

/** node:test's, but for what is about one process: on a cluster that is skipped, and says why. */
export function test(title, ...rest) {
  const reason = clustered && aboutOneProcess[title];
  return reason ? always(title, { skip: reason }, ...rest.slice(-1)) : always(title, ...rest);
}
