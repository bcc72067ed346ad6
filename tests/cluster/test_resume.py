"""Listeners that resume miss nothing and hear nothing twice, whatever goes wrong, one thing after the other: links that
break, a streamer that moves, another device that takes over, listeners that are too slow, nodes that are killed or stopped
in order, Redis that comes back empty."""

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
from rig.resuming import Resumer, Talker

from harness.waiting import until

SECONDS = 12
PACE = 0.15
KEPT = 24
"""Clips of the history, and of a listener's queue: more than are said while one thing goes wrong, but for a hurry."""
HURRY = 32_000
"""The size of a clip that soon fills the kernel's buffers."""
ENVIRONMENT = {
    "CASTAWAY_LIVESTREAM__GRACE": "60s",
    "CASTAWAY_LIVESTREAM__HISTORY_CLIPS": str(KEPT),
    "CASTAWAY_CLUSTER__HISTORY_CLIPS": str(KEPT),
    "CASTAWAY_LISTENER__QUEUE_CLIPS": str(KEPT),
    "CASTAWAY_UPLOAD__CLIPS_BURST": str(KEPT),
    "CASTAWAY_SERVER__SEND_BUFFER_BYTES": str(16 << 10),
    # A listener that reads nothing answers no ping.
    "CASTAWAY_SERVER__PING_TIMEOUT": "20s",
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

    def __init__(self, cluster, livestream, talker, listeners, seed, kinds):
        self.cluster, self.livestream, self.talker, self.listeners = cluster, livestream, talker, listeners
        self.dice, self.kinds, self.began = random.Random(seed), kinds, time.monotonic()

    async def run(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            kind = self.dice.choice(self.kinds)
            print(f"{time.monotonic() - self.began:6.2f}  {kind}")
            await getattr(self, kind)()
            known = self.talker.latest
            await until(lambda: self.talker.latest > known + 1, "clips go on", 40)  # noqa: B023
            calm = lambda: all(it.latest is not None and it.latest > known for it in self.listeners)  # noqa: B023, E731
            await until(calm, f"everybody hears it: {[(it.user, it.latest) for it in self.listeners]}", 40)

    async def links(self):
        some = self.dice.sample(self.listeners, self.dice.randint(1, len(self.listeners)))
        await asyncio.gather(*(listener.cut() for listener in some))
        if self.dice.random() < 0.5:
            await asyncio.sleep(self.dice.uniform(0, 0.4))
            await asyncio.gather(*(listener.cut() for listener in some))

    async def move(self):
        await self.talker.device.cut()

    async def take_over(self):
        nodes = self.dice.sample(self.cluster.nodes, len(self.cluster.nodes))
        await self.talker.take_over(nodes, knows_clips=self.dice.random() < 0.5)

    async def slow(self):
        """Some read nothing until their node has dropped clips, or just for a while."""
        some = self.dice.sample(self.listeners, self.dice.randint(1, len(self.listeners)))
        resume = [listener.stall() for listener in some if listener.is_in()]
        if self.dice.random() < 0.3:
            await asyncio.sleep(self.dice.uniform(0, 0.5))
        else:
            await self.hurry(some)
        if self.dice.random() < 0.3:
            await some[0].cut()
        for go_on in resume:
            go_on()

    async def hurry(self, slow):
        """The streamer says large clips without a pause, until the node of each of these listeners has dropped some."""
        nodes = {listener.node for listener in slow}
        before = {node: await node.metric("castaway_clips_dropped_total") for node in nodes}

        async def dropped():
            counts = [await node.metric("castaway_clips_dropped_total") > before[node] for node in nodes]
            return all(counts)

        pace, self.talker.pace, self.talker.size = self.talker.pace, 0, HURRY
        try:
            await until(dropped, "each node drops clips", 60)
        finally:
            self.talker.pace, self.talker.size = pace, 1_000

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
    talker = Talker(cluster, livestream, PACE)
    await talker.come()
    over = asyncio.Event()
    talking = asyncio.create_task(talker.talk(over))
    await until(lambda: talker.latest, "a clip is acknowledged")
    listeners = [
        await cluster.come(Resumer(cluster.google, livestream, f"resumer-{seed}-{index}", turned[index % len(turned)]))
        for index in range(5)
    ]
    trouble = Trouble(cluster, livestream, talker, listeners, seed, kinds)
    try:
        await trouble.run(SECONDS)
    finally:
        over.set()
        last = await talking
    await asyncio.gather(*(listener.hears_number(last, 15) for listener in listeners))
    found = list(violations(livestream.resuming, KEPT))
    assert not found, "\n".join(found[:20])
    visits, gaps = (sum(len(it) for it in of) for of in zip(*((it.visits, it.gaps) for it in listeners), strict=True))
    print(f"{last} clips, {visits} visits, {gaps} gaps")


@pytest.mark.parametrize("seed", seeds())
async def test_resuming_listeners_miss_nothing_on_three_nodes(cluster, seed):
    await play(cluster, seed, ["links", "links", "move", "take_over", "slow", "kill", "restart", "empty_redis"])


@pytest.mark.parametrize("seed", seeds())
async def test_resuming_listeners_miss_nothing_on_one_node(alone, seed):
    try:
        await play(alone, seed, ["links", "links", "move", "take_over", "slow", "restart"])
    finally:
        await alone.sweep()
