"""A node whose way to Redis is long is late, but its listeners miss nothing."""

import asyncio

import pytest_asyncio
from rig.cluster import Cluster, all_hear
from rig.far import Far
from rig.redis import Redis

AWAY, PACE, BURST = 0.03, 0.025, 0.002
"""Seconds: each direction to Redis, and between two clips."""
CLIPS = 40
FEW = 20
"""What the history holds."""


@pytest_asyncio.fixture
async def cluster():
    """b's way to Redis is long."""
    redis = Redis()
    await redis.start()
    far = await Far.to(redis.processes[0].port, AWAY)
    cluster = await Cluster.start(redis)
    try:
        b = cluster.nodes[1]
        await b.kill()
        b.environment["CASTAWAY_CLUSTER__URL"] = far.url(redis)
        await b.start()
        await b.settled()
        yield cluster
        await cluster.sweep()
    finally:
        await cluster.stop()
        far.close()
        await redis.stop()


async def talk(streamer, pace=PACE, clips=CLIPS):
    for _ in range(clips):
        last = streamer.say()
        await asyncio.sleep(pace)
    await streamer.answered(last)


async def test_a_listener_misses_nothing_from_its_success_on(cluster):
    for _ in range(10):
        livestream = await cluster.livestream()
        streamer = await cluster.streamer(livestream, cluster.nodes[0])
        talking = asyncio.create_task(talk(streamer))
        listener = await cluster.listener(livestream, cluster.nodes[1])
        await talking
        await all_hear([listener], CLIPS)
        livestream.check()


async def test_listener_coming_during_a_burst_misses_nothing(cluster):
    for _ in range(10):
        livestream = await cluster.livestream()
        streamer = await cluster.streamer(livestream, cluster.nodes[0])
        await streamer.say_and_wait()
        talking = asyncio.create_task(talk(streamer, BURST, FEW))
        listener = await cluster.listener(livestream, cluster.nodes[1])
        await talking
        await all_hear([listener], (await streamer.say_and_wait()).stamp.number)
        livestream.check()


async def test_takeover_during_a_burst_loses_nothing_acknowledged(cluster):
    for _ in range(5):
        livestream = await cluster.livestream()
        old = await cluster.streamer(livestream, cluster.nodes[0])
        listeners = await cluster.listeners(livestream)
        await old.say_and_wait()
        await all_hear(listeners, 1)
        talking = asyncio.create_task(talk(old, BURST))
        new = await cluster.streamer(livestream, cluster.nodes[1])
        new.numbers = iter(range(100, 200))
        await old.told.wait()
        talking.cancel()
        await all_hear(listeners, (await new.say_and_wait()).stamp.number)
        livestream.check()


async def test_a_streamer_there_is_heard_everywhere_in_order(cluster):
    livestream = await cluster.livestream()
    streamer = await cluster.streamer(livestream, cluster.nodes[1])
    listeners = await cluster.listeners(livestream)
    await talk(streamer)
    await all_hear(listeners, CLIPS)
    livestream.check()


async def test_a_takeover_from_there_is_told_in_time(cluster):
    livestream = await cluster.livestream()
    old = await cluster.streamer(livestream, cluster.nodes[1])
    listeners = await cluster.listeners(livestream)
    await old.say_and_wait()
    new = await cluster.streamer(livestream, cluster.nodes[2])
    new.numbers = iter(range(100, 200))
    await asyncio.wait_for(old.told.wait(), 3)
    await all_hear(listeners, (await new.say_and_wait()).stamp.number)
    livestream.check()
