"""Redis that starts from an old copy of its memory, or is a replica all at once, harms no livestream."""

import asyncio

import pytest
import pytest_asyncio
from rig.cluster import all_hear
from rig.redis import Sharded

from harness.waiting import until


@pytest_asyncio.fixture
async def redis_with_copies(cluster):
    """Copies that were made are gone after the test: others want Redis that starts empty."""
    yield cluster.redis
    for one in cluster.redis.processes:
        (one.directory / "dump.rdb").unlink(missing_ok=True)


async def save(redis):
    for one in redis.processes:
        assert await one.ask("SAVE") == ["OK"]


async def start_from_the_copy(cluster):
    cluster.redis.kill()
    await cluster.redis.heal()
    for node in cluster.nodes:
        await node.settled(15)


async def test_clips_that_come_after_are_heard_everywhere(cluster, redis_with_copies):
    livestream = await cluster.livestream()
    streamer = await cluster.streamer(livestream, cluster.nodes[0])
    listeners = await cluster.listeners(livestream)
    await streamer.say_and_wait()
    await save(redis_with_copies)
    for _ in range(5):
        await streamer.say_and_wait()
    await all_hear(listeners, 6)
    await start_from_the_copy(cluster)
    for _ in range(2):
        await streamer.say_and_wait()
    await all_hear(listeners, 8)
    assert len(streamer.visits) == 1 and all(len(it.visits) == 1 for it in listeners)
    livestream.check()


async def test_who_took_over_since_stays_the_streamer(cluster, redis_with_copies):
    livestream = await cluster.livestream()
    first = await cluster.streamer(livestream, cluster.nodes[0])
    listeners = await cluster.listeners(livestream)
    await first.say_and_wait()
    await save(redis_with_copies)
    second = await cluster.streamer(livestream, cluster.nodes[1])
    second.numbers = iter(range(100, 200))
    await until(first.told.is_set, "the first is told")
    await second.say_and_wait()
    # Longer than the lease and the grace: by the copy the livestream is over.
    await asyncio.sleep(8)
    await start_from_the_copy(cluster)
    last = await second.say_and_wait()
    await all_hear(listeners, last.stamp.number)
    assert not second.told.is_set() and len(second.visits) == 1
    assert all(len(it.visits) == 1 and not it.told.is_set() for it in listeners)
    await asyncio.sleep(4)
    await cluster.flagged(livestream, True)
    livestream.check()


async def test_a_replica_is_no_redis(cluster):
    if isinstance(cluster.redis, Sharded):
        pytest.skip("the library follows a cluster's own failover")
    (one,) = cluster.redis.processes
    await one.ask("REPLICAOF", "127.0.0.1", "1")
    try:
        for node in cluster.nodes:
            await until(node.degraded, f"{node.name} says that it is degraded", 6)
    finally:
        await one.ask("REPLICAOF", "NO", "ONE")
    for node in cluster.nodes:
        await node.settled(15)
