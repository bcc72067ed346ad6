"""The flag of a livestream whose nodes died is cleared by another one, at whatever moment they died."""

import asyncio

from rig.nodes import GRACE, LEASE

from harness.raw import raw
from harness.waiting import until

PROMISE = LEASE + GRACE + 5


async def test_flag_unknown_to_redis_is_cleared(cluster):
    dies, *_ = cluster.nodes
    livestream = await cluster.livestream()
    token = await cluster.google.token(livestream.user)
    cluster.redis.freeze()
    async with raw(dies.url) as socket:
        await socket.join("streamer", token, livestream.id)
        # Long enough for a write to Firestore, not for a lease.
        await asyncio.sleep(0.5)
        await dies.kill()
    cluster.redis.thaw()
    await cluster.flagged(livestream, False, PROMISE)


async def test_flag_is_cleared_though_its_clearing_node_dies(cluster):
    streams, clears, survives = cluster.nodes
    livestream = await cluster.livestream()
    streamer = await cluster.streamer(livestream, streams)
    await streamer.say_and_wait()
    await cluster.flagged(livestream, True)
    await survives.kill()
    await streams.kill()
    await cluster.google.trouble("write", "status", status=503)
    over = "a livestream without an owner is over"
    await until(lambda: over in clears.log, "the node clears the flag", PROMISE)
    await asyncio.sleep(0.5)
    await clears.kill()
    await cluster.google.heal()
    await survives.start()
    await cluster.flagged(livestream, False, PROMISE)
