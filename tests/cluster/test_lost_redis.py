"""Without Redis each node goes on with what it has, says so, and finds back by itself, to one owner."""

import asyncio
import time

import pytest
from rig.cluster import all_hear
from rig.nodes import LEASE

from harness.waiting import until

UNAVAILABLE = "Service is temporarily unavailable, try again."


async def everywhere_degraded(cluster):
    for node in cluster.nodes:
        await until(node.degraded, f"{node.name} says that it is degraded", 6)
        assert await node.metric("castaway_redis_up") == 0


async def everywhere_in_touch(cluster):
    await cluster.redis.settled()
    for node in cluster.nodes:
        await node.settled(10)


async def test_local_listeners_go_on_while_redis_is_away(cluster):
    livestream = await cluster.livestream()
    streamer = await cluster.streamer(livestream, *cluster.nodes[:1])
    near, far = await cluster.listeners(livestream, *cluster.nodes[:2])
    await streamer.say_and_wait()
    cluster.redis.kill()
    for _ in range(5):
        await near.hears_number(streamer.say(), 1)
    await everywhere_degraded(cluster)
    for node in cluster.nodes:
        assert (await node.server.get("/healthz"))[0] == 200
    assert len(near.visits) == len(far.visits) == 1
    await cluster.redis.heal()
    await everywhere_in_touch(cluster)
    await all_hear([near, far], (await streamer.say_and_wait()).stamp.number)


async def test_redis_back_within_the_lease_disturbs_nobody(cluster):
    livestream = await cluster.livestream()
    streamer = await cluster.streamer(livestream, cluster.nodes[0])
    listeners = await cluster.listeners(livestream)
    for _ in range(3):
        await streamer.say_and_wait()
    await all_hear(listeners, 3)
    cluster.redis.freeze()
    for _ in range(8):
        streamer.say(20_000)
    await listeners[0].hears_number(11, 1)
    cluster.redis.thaw()
    await streamer.answered(11)
    await all_hear(listeners, 11)
    for person in [streamer, *listeners]:
        assert len(person.visits) == 1
    for listener in listeners:
        assert listener.numbers() == list(range(1, 12)), listener.node.name
    livestream.check()


async def test_redis_back_empty_gets_the_clips_in_order(cluster):
    livestream = await cluster.livestream()
    streamer = await cluster.streamer(livestream, cluster.nodes[0], cluster.nodes[1])
    listeners = await cluster.listeners(livestream)
    for _ in range(3):
        await streamer.say_and_wait()
    await all_hear(listeners, 3)
    await cluster.flagged(livestream, True)
    cluster.redis.kill()
    for _ in range(8):
        streamer.say(20_000)
    await listeners[0].hears_number(11, 1)
    await cluster.redis.heal()
    await streamer.answered(11, 15)
    last = await streamer.say_and_wait()
    await all_hear(listeners, last.stamp.number)
    await everywhere_in_touch(cluster)
    assert [answer.sequence for answer in streamer.acked.values()] == sorted({it.sequence for it in streamer.acked.values()})
    livestream.check()
    assert await cluster.flag(livestream)
    await cluster.held_once()


async def test_streamer_without_redis_beyond_the_lease_stays(cluster):
    livestream = await cluster.livestream()
    streamer = await cluster.streamer(livestream, cluster.nodes[0])
    listeners = await cluster.listeners(livestream)
    await streamer.say_and_wait()
    await all_hear(listeners, 1)
    cluster.redis.kill()
    number = streamer.say()
    await listeners[0].hears_number(number, 1)
    await until(lambda: streamer.refusals, "its clip is refused at last", LEASE + 3)
    assert streamer.refusals[0]["ok"] is False and streamer.refusals[0]["error"] == UNAVAILABLE
    await until(lambda: UNAVAILABLE in streamer.said("error"), "it is told")
    for node in cluster.nodes:
        await until(node.cut_off, f"{node.name} is not ready", LEASE)
    await cluster.redis.heal()
    await everywhere_in_touch(cluster)
    await streamer.answered(number, 15)
    said = await streamer.say_and_wait(seconds=10)
    await all_hear(listeners, said.stamp.number)
    await cluster.held_once()
    assert len(streamer.visits) == 1 and all(len(it.visits) == 1 for it in listeners)
    await cluster.flagged(livestream, True)


async def test_one_of_two_unconfirmed_streamers_stays(cluster):
    here, there, elsewhere = cluster.nodes
    livestream = await cluster.livestream()
    cluster.redis.kill()
    await everywhere_degraded(cluster)
    first = await cluster.streamer(livestream, here)
    second = await cluster.streamer(livestream, there)
    second.numbers = iter(range(100, 200))
    second.say()
    near_first, near_second = await cluster.listener(livestream, here), await cluster.listener(livestream, there)
    await cluster.redis.heal()
    await everywhere_in_touch(cluster)
    streamers = (first, second)
    await until(lambda: sum(streamer.told.is_set() for streamer in streamers) == 1, "one of them is told", 15)
    (winner,) = [streamer for streamer in streamers if not streamer.told.is_set()]
    (loser,) = [streamer for streamer in streamers if streamer.told.is_set()]
    assert f"Livestream {livestream.id} was taken over by another connection." in loser.said("error")
    third = await cluster.listener(livestream, elsewhere)
    last = await winner.say_and_wait(seconds=15)
    await all_hear([near_first, near_second, third], last.stamp.number)
    await cluster.held_once()
    assert not winner.told.is_set()
    await cluster.flagged(livestream, True)
    livestream.check_order()


async def test_unconfirmed_streamer_is_heard_everywhere_later(cluster):
    livestream = await cluster.livestream()
    cluster.redis.kill()
    await everywhere_degraded(cluster)
    streamer = await cluster.streamer(livestream, cluster.nodes[2])
    near = await cluster.listener(livestream, cluster.nodes[2])
    number = streamer.say()
    await near.hears_number(number, 2)
    assert number not in streamer.acked, "other nodes cannot have it"
    await cluster.flagged(livestream, True)
    await cluster.redis.heal()
    await everywhere_in_touch(cluster)
    far = await cluster.listeners(livestream, *cluster.nodes[:2])
    await all_hear([near, *far], (await streamer.say_and_wait()).stamp.number)
    await streamer.answered(number, 10)
    assert len(streamer.visits) == 1


async def test_redis_that_flaps_leaves_one_owner(cluster):
    livestream = await cluster.livestream()
    streamer = await cluster.streamer(livestream, *cluster.nodes)
    listeners = await cluster.listeners(livestream)
    for _ in range(3):
        await streamer.say_and_wait()
        cluster.redis.kill()
        streamer.say()
        await cluster.redis.heal()
        await streamer.say_and_wait(seconds=15)
    await everywhere_in_touch(cluster)
    await all_hear(listeners, (await streamer.say_and_wait()).stamp.number)
    await cluster.held_once()
    assert all(not listener.told.is_set() and len(listener.visits) == 1 for listener in listeners)
    livestream.check_order()


async def test_node_starts_without_redis_and_finds_it_later(cluster):
    late = cluster.nodes[2]
    await late.kill()
    cluster.redis.kill()
    await late.start()
    await until(late.degraded, "it says that it is degraded")
    await cluster.redis.heal()
    await late.settled(10)
    await everywhere_in_touch(cluster)
    livestream = await cluster.livestream()
    streamer = await cluster.streamer(livestream, cluster.nodes[0])
    group = await cluster.listeners(livestream)
    await asyncio.gather(all_hear(group, 1), streamer.say_and_wait())


async def test_livestreams_of_the_remaining_shards_go_on(cluster):
    processes = cluster.redis.processes
    if len(processes) == 1:
        pytest.skip("this Redis has no shards")
    here, there, _ = cluster.nodes
    by_shard = {}
    while len(by_shard) < len(processes):
        livestream = await cluster.livestream()
        streamer = await cluster.streamer(livestream, here)
        (far,) = await cluster.listeners(livestream, there)
        shard = [livestream.id in " ".join(await one.ask("KEYS", "*owner")) for one in processes].index(True)
        if shard in by_shard:
            await streamer.leave()
        else:
            by_shard[shard] = streamer, far
    lost, *left = range(len(processes))
    processes[lost].kill()
    # For some heartbeats: each asks whether Redis is there.
    killed = time.monotonic()
    while time.monotonic() < killed + 4:
        for shard in left:
            streamer, far = by_shard[shard]
            await far.hears_number((await streamer.say_and_wait(seconds=3)).stamp.number, 3)
            assert len(streamer.visits) == len(far.visits) == 1
    await cluster.redis.heal()
    await everywhere_in_touch(cluster)
    for shard, (streamer, far) in by_shard.items():
        await far.hears_number((await streamer.say_and_wait(seconds=15)).stamp.number, 15)
        assert not streamer.told.is_set() and not far.told.is_set(), shard
