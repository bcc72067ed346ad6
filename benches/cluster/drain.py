"""Thousands of listeners whose node drains: for how long does each of them hear nothing?

    benches/cluster/run --drain NUMBER… [--drain-time SECONDS]

Prints a row for each number. A listener's silence lasts from the end of its connection to its first clip from the other
node, with the half to one and a half seconds that Socket.IO's client waits before it connects again.
"""

import asyncio
import contextlib
import random
import time

import scale
from rig import operator
from rig.cluster import Cluster
from rig.redis import Redis

PACE = 2
"""Seconds between two clips."""
WAIT = (0.5, 1.5)
"""Before a client connects again."""

ONE_USER = {"CASTAWAY_SERVER__MAX_SOCKETS_PER_USER": "20000", "CASTAWAY_LIVESTREAM__MAX_LISTENERS": "20000"}
"""Every listener is the same one."""


class Peer(scale.Peer):
    """Tells when its connection ended, and when its first clip came."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        loop = asyncio.get_running_loop()
        self.ended, self.hears = loop.create_future(), loop.create_future()

    def connection_lost(self, reason):
        super().connection_lost(reason)
        self.ended.set_result(time.monotonic())

    def _message(self, first, payload):
        if first == 0x82 and not self.hears.done():
            self.hears.set_result(time.monotonic())
        super()._message(first, payload)


class Drain(scale.Scale):
    peer = Peer

    async def measure(self, count, name):
        """Each listener's silence, and how long the drain took."""
        drained, other = self.cluster.nodes
        await self.cluster.google.livestream(name, scale.USER)
        streamer = await self.join(other, "streamer", name)
        talking = asyncio.create_task(self.talk(streamer))
        listeners = await scale.at_once(self.join(drained, "listener", name) for _ in range(count))
        await asyncio.wait_for(asyncio.gather(*(it.hears for it in listeners)), 60)
        status, _ = await operator.ask(drained, "POST", "/drain")
        assert status in (200, 202), status
        began = time.monotonic()
        silences = await asyncio.gather(*(self.silence(it, other) for it in listeners))
        took = max(it.ended.result() for it in listeners) - began
        talking.cancel()
        await self.clear()
        await operator.ask(drained, "DELETE", "/drain")
        return silences, took

    async def silence(self, listener, other):
        """Seconds; none if no clip comes within a minute."""
        ended = await listener.ended
        await asyncio.sleep(random.uniform(*WAIT))
        again = await self.join(other, "listener", listener.livestream)
        with contextlib.suppress(TimeoutError):
            return await asyncio.wait_for(again.hears, 60) - ended
        return None

    @staticmethod
    async def talk(streamer):
        while True:
            streamer.say()
            await asyncio.sleep(PACE)


async def measure(counts, seconds):
    """Prints the table."""
    redis, cluster = Redis(), None
    environment = {**scale.ENVIRONMENT, **operator.ENVIRONMENT, **ONE_USER}
    environment["CASTAWAY_SERVER__DRAIN_TIME"] = f"{seconds}s"
    try:
        await redis.start()
        cluster = await Cluster.start(redis, environment, names="ab")
        drain = Drain(cluster, await cluster.google.token(scale.USER))
        print("| listeners | last one left after, s | silence p50, s | p99, s | longest, s | heard nothing more |")
        print("|--:|--:|--:|--:|--:|--:|", flush=True)
        for number, count in enumerate(counts):
            silences, took = await drain.measure(count, f"drain-{number}")
            heard = sorted(it for it in silences if it)
            values = [took, *(heard[int(len(heard) * part)] for part in (0.5, 0.99)), heard[-1]]
            row = " | ".join(f"{it:.2f}" for it in values)
            print(f"| {count} | {row} | {count - len(heard)} |", flush=True)
    finally:
        if cluster:
            await cluster.stop()
        await redis.stop()
