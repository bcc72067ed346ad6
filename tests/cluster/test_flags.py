"""streamerConnected is right in the end, and a start that leads to nothing ends no livestream."""

import asyncio

from rig.cluster import all_hear

from harness.raw import raw
from harness.waiting import until


async def test_streamer_gone_before_its_greeting_ends_nothing(cluster):
    here, there, _ = cluster.nodes
    livestream = await cluster.livestream()
    streamer = await cluster.streamer(livestream, here)
    listeners = await cluster.listeners(livestream, here)
    await streamer.say_and_wait()
    await all_hear(listeners, 1)
    token = await cluster.google.token(livestream.user)
    async with raw(there.url) as socket:
        # It goes while Redis is slow to grant it the livestream.
        cluster.redis.freeze()
        await socket.connect("streamer", token, livestream.id)
        await asyncio.sleep(0.2)
        socket.abort()
        await asyncio.sleep(0.1)
        cluster.redis.thaw()
    await asyncio.sleep(1)
    if not streamer.is_in():
        streamer = await cluster.streamer(livestream, here)
        streamer.numbers = iter(range(10, 20))
    last = await streamer.say_and_wait()
    await all_hear(listeners, last.stamp.number)
    assert all(not it.told.is_set() and len(it.visits) == 1 for it in listeners)
    await cluster.flagged(livestream, True)


async def test_livestream_that_redis_never_saw_leaves_no_flag(cluster):
    livestream = await cluster.livestream()
    cluster.redis.kill()
    for node in cluster.nodes:
        await until(node.degraded, f"{node.name} says that it is degraded", 6)
    streamer = await cluster.streamer(livestream, cluster.nodes[0])
    await cluster.flagged(livestream, True)
    await streamer.leave()
    # Longer than a livestream is kept that nobody uses.
    await asyncio.sleep(4)
    await cluster.redis.heal()
    await cluster.flagged(livestream, False, 15)


async def test_end_is_recorded_though_redis_is_slow(cluster):
    livestream = await cluster.livestream()
    streamer = await cluster.streamer(livestream, cluster.nodes[0])
    await streamer.say_and_wait()
    await cluster.flagged(livestream, True)
    cluster.redis.freeze()
    await streamer.leave()
    await asyncio.sleep(0.8)
    cluster.redis.thaw()
    await cluster.flagged(livestream, False, 12)


async def test_livestream_forgotten_in_its_grace_leaves_no_flag(cluster):
    livestream = await cluster.livestream()
    streamer = await cluster.streamer(livestream, cluster.nodes[0])
    listeners = await cluster.listeners(livestream, *cluster.nodes[1:])
    await streamer.say_and_wait()
    await cluster.flagged(livestream, True)
    await streamer.close()
    await asyncio.sleep(1)
    cluster.redis.kill()
    await cluster.redis.heal()
    for listener in listeners:
        await until(listener.told.is_set, "it is told that it is over", 20)
    await cluster.flagged(livestream, False, 12)
