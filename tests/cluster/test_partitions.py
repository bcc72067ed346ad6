"""Links are cut and restored at random, and nodes stand still as on a machine that is too busy; what everybody saw is
checked: nobody hears a clip twice, out of order, or from two owners at once; and what the streamer was told is safe
reaches everybody who could hear it."""

import asyncio
import os
import random
import time

import pytest
import pytest_asyncio
from rig.cluster import Cluster, all_hear
from rig.history import Cut, Restored
from rig.network import Network, why_not
from rig.nodes import LEASE
from rig.redis import Redis

from harness.waiting import until

SECONDS = 30
PACE = 0.1
CALM = (0.5, 2.5)
"""Between two changes."""
STILL = (1, 4)
"""How long a node stands still: a process that gets no processor."""
REASON = why_not()
ENVIRONMENT = {
    # Nothing is to be lost for want of room, and nothing ends while a link is away.
    "CASTAWAY_LIVESTREAM__GRACE": "60s",
    "CASTAWAY_CLUSTER__HISTORY_CLIPS": "2000",
    "CASTAWAY_CLUSTER__HISTORY_BYTES": "100000000",
    "CASTAWAY_CLUSTER__QUEUE_CLIPS": "2000",
}

pytestmark = [pytest.mark.skipif(REASON is not None, reason=REASON or ""), pytest.mark.timeout(SECONDS + 90)]


class Scattered(Cluster):
    """Each node and Redis on a machine of its own."""

    async def mend(self):
        for node, machine in zip(self.nodes, self.machines):
            urls = [value for value in self.google.environment.values() if value.startswith("http://")]
            metadata = f"http://{self.google.environment['GCE_METADATA_HOST']}"
            if not node.within:
                await machine.lead(*urls, metadata)
                node.within = machine.within
                listen = machine.address["clients"]
                node.environment["CASTAWAY_SERVER__LISTEN"] = f"{listen}:3000"
                node.environment["CASTAWAY_SERVER__HEALTH_LISTEN"] = f"{listen}:8080"
            for side in ("clients", "redis"):
                machine.restore(side)
        await super().mend()


@pytest_asyncio.fixture
async def scattered(request):
    network = Network(4)
    network.make()
    machines, last = network.machines[:3], network.machines[3]
    address = last.address["redis"]
    redis = Redis(host=address, bind=address, within=last.within)
    cluster = None
    try:
        await redis.start()
        Scattered.machines = machines
        cluster = await Scattered.start(redis, ENVIRONMENT)
        yield cluster
        if getattr(request.node, "broken", False):
            cluster.print_logs(200)
        await cluster.sweep()
    finally:
        if cluster:
            await cluster.stop()
        await redis.stop()
        network.remove()


class Chaos:
    """Cuts and restores links, and stops nodes for a while, as its dice say. Writes the cuts into the livestream's history:
    a node that stood still is not cut off."""

    def __init__(self, cluster, livestream, seed):
        self.cluster, self.livestream, self.dice = cluster, livestream, random.Random(seed)
        self.cut, self.still = set(), set()
        self.began = time.monotonic()

    def change(self):
        node = self.dice.randrange(3)
        # A client's way is cut less often: a streamer spends its time on coming back.
        side = self.dice.choices(("redis", "clients", "still"), (6, 2, 3))[0]
        if side == "still":
            self._stop(node, self.dice.uniform(*STILL))
        elif (node, side) in self.cut:
            self._restore(node, side)
        else:
            self._cut(node, side)

    def _stop(self, node, seconds):
        if node not in self.still:
            self.cluster.nodes[node].hang()
            self.still.add(node)
            asyncio.get_running_loop().call_later(seconds, self._wake, node)
            print(f"{time.monotonic() - self.began:6.2f}  {self.cluster.nodes[node].name} . {seconds:.1f} s")

    def _wake(self, node):
        if node in self.still:
            self.cluster.nodes[node].wake()
            self.still.discard(node)
            print(f"{time.monotonic() - self.began:6.2f}  {self.cluster.nodes[node].name} !")

    def _cut(self, node, side):
        name = self.cluster.nodes[node].name
        self.cluster.machines[node].cut(side)
        self.cut.add((node, side))
        if side == "redis":
            self.livestream.history.append(Cut(time.monotonic(), name))
        print(f"{time.monotonic() - self.began:6.2f}  {name} | {side}")

    def _restore(self, node, side):
        name = self.cluster.nodes[node].name
        self.cluster.machines[node].restore(side)
        self.cut.discard((node, side))
        if side == "redis":
            self.livestream.history.append(Restored(time.monotonic(), name))
        print(f"{time.monotonic() - self.began:6.2f}  {name} - {side}")

    def restore_all(self):
        for node in sorted(self.still):
            self._wake(node)
        for node, side in sorted(self.cut):
            self._restore(node, side)


async def talk(streamer, until_when):
    while time.monotonic() < until_when:
        streamer.say(1_000)
        await asyncio.sleep(PACE)


def seeds():
    """`CASTAWAY_SEED` alone, or as many as `CASTAWAY_SEEDS` says."""
    alone = os.environ.get("CASTAWAY_SEED")
    return [int(alone)] if alone else range(1, 1 + int(os.environ.get("CASTAWAY_SEEDS", "20")))


@pytest.mark.parametrize("seed", seeds())
async def test_history_is_good_after_random_cuts(scattered, seed):
    cluster = scattered
    print(f"CASTAWAY_SEED={seed}")
    livestream = await cluster.livestream()
    streamer = await cluster.streamer(livestream, *cluster.nodes)
    listeners = await cluster.listeners(livestream, each=2)
    wanderers = [await cluster.listener(livestream, *cluster.nodes[turn:], *cluster.nodes[:turn]) for turn in range(3)]
    chaos = Chaos(cluster, livestream, seed)
    end = time.monotonic() + SECONDS
    talking = asyncio.create_task(talk(streamer, end))
    while (now := time.monotonic()) < end:
        await asyncio.sleep(min(chaos.dice.uniform(*CALM), end - now))
        chaos.change()
    chaos.restore_all()
    await talking
    await until(lambda: not streamer.outbox, lambda: f"all is acknowledged but {list(streamer.outbox)}", 30)
    everybody = [*listeners, *wanderers]
    out = lambda: [f"{it} at {it.node.name}, heard {it.names()[-4:]}" for it in everybody if not it.is_in()]  # noqa: E731
    await until(lambda: not out(), lambda: f"everybody is let in again but {out()}", 15)
    await asyncio.gather(*(node.settled() for node in cluster.nodes))
    last = await streamer.say_and_wait(seconds=15)
    await all_hear(everybody, last.stamp.number, 15)
    print(f"{len(streamer.visits)} sessions, {len(streamer.acked)} clips, {sum(len(it.heard) for it in everybody)} heard")
    livestream.check()
    await cluster.held_once()
    await cluster.flagged(livestream, True)


async def test_node_cut_off_keeps_its_streamer_unready(scattered):
    cluster = scattered
    livestream = await cluster.livestream()
    here, there, elsewhere = cluster.nodes
    streamer = await cluster.streamer(livestream, here)
    listeners = await cluster.listeners(livestream)
    await streamer.say_and_wait()
    await all_hear(listeners, 1)
    cluster.machines[0].cut("redis")
    livestream.history.append(Cut(time.monotonic(), here.name))
    number = streamer.say()
    await until(lambda: streamer.refusals, "its clip is refused at last", LEASE + 4)
    await until(here.cut_off, "the node that is cut off is not ready")
    assert number in listeners[0].numbers() and number not in streamer.acked
    assert await there.ready() == (200, "ready\n")
    cluster.machines[0].restore("redis")
    livestream.history.append(Restored(time.monotonic(), here.name))
    await streamer.answered(number, 20)
    await all_hear(listeners, (await streamer.say_and_wait()).stamp.number, 15)
    assert len(streamer.visits) == 1 and all(len(it.visits) == 1 for it in listeners)
    await cluster.held_once()
    livestream.check()


async def test_streamer_moving_off_a_cut_node_is_owner(scattered):
    cluster = scattered
    livestream = await cluster.livestream()
    here, there, _ = cluster.nodes
    old = await cluster.streamer(livestream, here)
    listeners = await cluster.listeners(livestream)
    last = await old.say_and_wait()
    await all_hear(listeners, 1)
    cluster.machines[0].cut("redis")
    livestream.history.append(Cut(time.monotonic(), here.name))
    await until(here.cut_off, "the node that is cut off is not ready", LEASE + 4)
    new = await cluster.streamer(livestream, there)
    new.numbers = iter(range(100, 200))
    first = await new.say_and_wait()
    assert first.sequence > last.sequence
    cluster.machines[0].restore("redis")
    livestream.history.append(Restored(time.monotonic(), here.name))
    await until(old.told.is_set, "the old connection is told", 15)
    await all_hear(listeners, (await new.say_and_wait()).stamp.number, 15)
    assert not new.told.is_set() and len(new.visits) == 1
    await cluster.held_once()
    livestream.check()


async def test_clip_missed_while_cut_off_is_fetched(scattered):
    cluster = scattered
    livestream = await cluster.livestream()
    here, there, _ = cluster.nodes
    streamer = await cluster.streamer(livestream, here)
    listeners = await cluster.listeners(livestream, each=2)
    await streamer.say_and_wait()
    cluster.machines[1].cut("redis")
    for _ in range(10):
        await streamer.say_and_wait()
    await until(there.degraded, "the node that is cut off says so")
    # Else a connection that outlived the cut would be sent all of it by the kernel.
    await cluster.redis.forget_connections_of(cluster.machines[1].address["redis"])
    fetched = await there.metric("castaway_cluster_clips_fetched_total")
    cluster.machines[1].restore("redis")
    await all_hear(listeners, 11, 10)
    assert all(listener.numbers() == list(range(1, 12)) for listener in listeners)
    assert await there.metric("castaway_cluster_clips_fetched_total") > fetched
    assert all(len(listener.visits) == 1 for listener in listeners)
    livestream.check()


async def test_listeners_of_unconfirmed_streamer_hear_the_next_owner(scattered):
    await _unconfirmed_between(scattered, clips=3)


async def test_silent_unconfirmed_streamer_costs_its_listeners_nothing(scattered):
    await _unconfirmed_between(scattered, clips=0)


async def _unconfirmed_between(cluster, clips):
    """A streamer leaves the second node, where it said clips that the first one missed; comes to the first node, which is
    cut off, and says so many; and goes on at the third one."""
    here, there, elsewhere = cluster.nodes
    livestream = await cluster.livestream()
    streamer = await cluster.streamer(livestream, there, here, elsewhere)
    listeners = await cluster.listeners(livestream)
    await streamer.say_and_wait()
    await all_hear(listeners, 1)
    cluster.machines[0].cut("redis")
    livestream.history.append(Cut(time.monotonic(), here.name))
    await until(here.degraded, "the node that is cut off says so")
    # Else a connection that outlived the cut would be sent all of it by the kernel.
    await cluster.redis.forget_connections_of(cluster.machines[0].address["redis"])
    for _ in range(5):
        await streamer.say_and_wait()
    await _moves(streamer, here)
    for _ in range(clips):
        await listeners[0].hears_number(streamer.say())
    await _moves(streamer, elsewhere)
    for _ in range(20):
        last = await streamer.say_and_wait()
    cluster.machines[0].restore("redis")
    livestream.history.append(Restored(time.monotonic(), here.name))
    await all_hear(listeners, last.stamp.number, 15)
    livestream.check()


async def _moves(streamer, node):
    await streamer.cut()
    await until(lambda: streamer.is_in() and streamer.node is node, f"the streamer is at {node.name}")
