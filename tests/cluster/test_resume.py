"""Listeners that resume miss nothing and hear nothing twice, whatever goes wrong, one thing after the other: links that
break, a streamer that moves, nodes that are killed or stopped in order, Redis that comes back empty."""

import asyncio
import os
import random
import time

import pytest
import pytest_asyncio
from rig.cluster import Cluster
from rig.nodes import LEASE
from rig.redis import Redis
from rig.resumed import Forgot, violations
from rig.resuming import OrderlyStreamer, Resumer

from harness.waiting import until

SECONDS = 12
PACE = 0.15
KEPT = 400
"""Clips of the history: more than are said while one thing goes wrong."""
ENVIRONMENT = {
    "CASTAWAY_LIVESTREAM__GRACE": "60s",
    "CASTAWAY_LIVESTREAM__HISTORY_CLIPS": str(KEPT),
    "CASTAWAY_CLUSTER__HISTORY_CLIPS": str(KEPT),
}

pytestmark = pytest.mark.timeout(SECONDS + 120)


@pytest_asyncio.fixture(scope="module")
async def redis(instances):
    """Redis alone: what is tested here is the nodes'."""
    if "resume" not in instances:
        instances["resume"] = Redis()
        await instances["resume"].start()
    return instances["resume"]


class Alone(Cluster):
    """One node without Redis."""

    async def mend(self):
        (node,) = self.nodes
        node.environment.pop("CASTAWAY_CLUSTER__URL", None)
        if not node.alive:
            await node.start()

        async def is_ready():
            return (await node.ready())[0] == 200

        await until(is_ready, "the node is ready")


@pytest_asyncio.fixture(scope="module")
async def alone(redis, tmp_path_factory):
    """One node without a cluster, whose livestreams outlive its restart."""
    runtime = str(tmp_path_factory.mktemp("runtime"))
    cluster = await Alone.start(redis, {**ENVIRONMENT, "RUNTIME_DIRECTORY": runtime}, names="a")
    yield cluster
    await cluster.stop()


def seeds():
    """`CASTAWAY_SEED` alone, or as many as `CASTAWAY_SEEDS` says."""
    one = os.environ.get("CASTAWAY_SEED")
    return [int(one)] if one else range(1, 1 + int(os.environ.get("CASTAWAY_SEEDS", "20")))


class Trouble:
    """One thing after the other goes wrong, as its dice say; the next one when a clip is acknowledged again."""

    def __init__(self, cluster, livestream, streamer, listeners, seed, kinds):
        self.cluster, self.livestream, self.streamer, self.listeners = cluster, livestream, streamer, listeners
        self.dice, self.kinds, self.began = random.Random(seed), kinds, time.monotonic()

    async def run(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            kind = self.dice.choice(self.kinds)
            print(f"{time.monotonic() - self.began:6.2f}  {kind}")
            await getattr(self, kind)()
            known = max(self.streamer.acked, default=0)
            await until(lambda: max(self.streamer.acked, default=0) > known + 1, "clips go on", 40)  # noqa: B023
            calm = lambda: all(it.latest is not None and it.latest > known for it in self.listeners)  # noqa: B023, E731
            await until(calm, f"everybody hears it: {[(it.user, it.latest) for it in self.listeners]}", 40)

    async def links(self):
        some = self.dice.sample(self.listeners, self.dice.randint(1, len(self.listeners)))
        await asyncio.gather(*(listener.cut() for listener in some))
        if self.dice.random() < 0.5:
            await asyncio.sleep(self.dice.uniform(0, 0.4))
            await asyncio.gather(*(listener.cut() for listener in some))

    async def move(self):
        await self.streamer.cut()

    async def kill(self):
        node = self.dice.choice(self.cluster.nodes)
        await node.kill()
        await asyncio.sleep(self.dice.uniform(0.1, 1.5))
        await node.start()
        await node.settled()

    async def restart(self):
        node = self.dice.choice(self.cluster.nodes)
        await node.stop()
        await node.start()
        if len(self.cluster.nodes) > 1:
            await node.settled()

    async def empty_redis(self):
        began = time.monotonic()
        self.cluster.redis.kill()
        await asyncio.sleep(self.dice.uniform(0.1, 1))
        await self.cluster.mend()
        # Until the owner has published it again.
        self.livestream.resuming.append(Forgot(began, time.monotonic() + LEASE / 2))


async def play(cluster, seed, kinds):
    print(f"CASTAWAY_SEED={seed}")
    livestream = await cluster.livestream()
    livestream.resuming = []
    turned = [[*cluster.nodes[turn:], *cluster.nodes[:turn]] for turn in range(len(cluster.nodes))]
    streamer = await cluster.come(OrderlyStreamer(cluster.google, livestream, livestream.user, cluster.nodes))
    over = asyncio.Event()
    talking = asyncio.create_task(streamer.talk(over, PACE))
    await until(lambda: streamer.acked, "a clip is acknowledged")
    listeners = [
        await cluster.come(Resumer(cluster.google, livestream, f"resumer-{seed}-{index}", turned[index % len(turned)]))
        for index in range(5)
    ]
    trouble = Trouble(cluster, livestream, streamer, listeners, seed, kinds)
    try:
        await trouble.run(SECONDS)
    finally:
        over.set()
        last = await talking
    await asyncio.gather(*(listener.hears_number(last, 15) for listener in listeners))
    found = list(violations(livestream.resuming, KEPT))
    assert not found, "\n".join(found[:20])
    print(f"{last} clips, {sum(len(listener.visits) for listener in listeners)} sittings")


@pytest.mark.parametrize("seed", seeds())
async def test_resuming_listeners_miss_nothing_on_three_nodes(cluster, seed):
    await play(cluster, seed, ["links", "links", "move", "kill", "restart", "empty_redis"])


@pytest.mark.parametrize("seed", seeds())
async def test_resuming_listeners_miss_nothing_on_one_node(alone, seed):
    try:
        await play(alone, seed, ["links", "links", "move", "restart"])
    finally:
        await alone.sweep()
