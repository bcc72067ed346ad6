"""Redis that hangs, or is slow, costs bounded memory and harms no local listener."""

import time

from rig.cluster import all_hear

from harness.waiting import until

MIB = 1 << 20
QUEUE = 4 * MIB
ENVIRONMENT = {"CASTAWAY_CLUSTER__QUEUE_BYTES": str(QUEUE), "CASTAWAY_CLUSTER__LEASE": "60s"}
"""So that the lease lasts however long Redis hangs."""

CLIPS, SIZE = 120, MIB // 2


async def test_queue_for_hanging_redis_is_bounded_and_counted(cluster):
    here, there, _ = cluster.nodes
    livestream = await cluster.livestream()
    streamer = await cluster.streamer(livestream, here)
    near, far = await cluster.listeners(livestream, here, there)
    # Memory that any traffic of this size takes for good.
    for _ in range(8):
        await streamer.say_and_wait(SIZE)
    await all_hear([near, far], 8)
    before = here.memory()
    dropped = await here.metric("castaway_cluster_clips_dropped_total", 'reason="queue_full"')
    cluster.redis.freeze()
    for _ in range(CLIPS):
        # Far less than the lease, for which a publication waits.
        await near.hears_number(streamer.say(SIZE))
    grown = here.memory() - before
    assert grown < QUEUE + 24 * MIB, f"{grown / MIB:.0f} MiB for {CLIPS * SIZE / MIB:.0f} MiB of clips"

    async def counted():
        return await here.metric("castaway_cluster_clips_dropped_total", 'reason="queue_full"') > dropped

    await until(counted, "what was dropped is counted")
    # What did not fit the queue was refused, so its streamer says it again, and it is heard again.
    assert list(dict.fromkeys(near.numbers())) == list(range(1, 9 + CLIPS))
    cluster.redis.thaw()
    last = await streamer.say_and_wait(seconds=20)
    await all_hear([near, far], last.stamp.number, 20)
    assert len(near.visits) == len(far.visits) == 1
    livestream.check_order()


async def test_a_listener_comes_and_goes_though_redis_hangs(cluster):
    here, _, _ = cluster.nodes
    livestream = await cluster.livestream()
    streamer = await cluster.streamer(livestream, here)
    await streamer.say_and_wait()
    cluster.redis.freeze()
    began = time.monotonic()
    late = await cluster.listener(livestream, here)
    await late.hears_number(1, 1)
    assert time.monotonic() - began < 2
    await late.leave()
    cluster.redis.thaw()
