"""A streamer that was away for long sends all its clips at once, to a node whose way to Redis is long."""

import asyncio
import time

import pytest
import pytest_asyncio
from rig.cluster import Cluster, all_hear
from rig.far import Far
from rig.nodes import LEASE
from rig.redis import Redis

AWAY = 0.08
"""Seconds, each direction to Redis."""
CLIPS = 120


@pytest_asyncio.fixture(scope="module")
async def far_cluster():
    """Every node's way to Redis is long."""
    redis = Redis()
    await redis.start()
    far = await Far.to(redis.processes[0].port, AWAY)
    cluster = await Cluster.start(redis, {"CASTAWAY_CLUSTER__URL": far.url(redis)}, names="ab")
    try:
        yield cluster
        await cluster.sweep()
    finally:
        await cluster.stop()
        far.close()
        await redis.stop()


@pytest.mark.parametrize("size", [2_000, 40_000])
async def test_flush_is_acknowledged_within_the_lease(far_cluster, size):
    here, there = far_cluster.nodes
    livestream = await far_cluster.livestream()
    streamer = await far_cluster.streamer(livestream, here)
    listener = await far_cluster.listener(livestream, there)
    await streamer.say_and_wait()
    began = time.monotonic()
    for _ in range(CLIPS):
        streamer.say(size)
        await asyncio.sleep(0)
    await streamer.answered(1 + CLIPS, LEASE + 2)
    took = time.monotonic() - began
    print(f"{CLIPS} clips of {size} bytes: {took:.1f} s")
    assert took < LEASE and not streamer.refusals
    assert [answer.sequence for answer in streamer.acked.values()] == list(range(1, 2 + CLIPS))
    await all_hear([listener], 1 + CLIPS)
    assert listener.numbers() == list(range(1, 2 + CLIPS))
    livestream.check()
