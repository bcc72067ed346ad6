"""A node that is stopped on purpose hands over: a hiccup, and the flag stays."""

import asyncio
import time

from rig.cluster import all_hear
from rig.nodes import GRACE

from harness.waiting import throughout, until

HICCUP = 2
"""Seconds, as the issue promises."""


async def test_stop_of_the_streamers_node_keeps_the_flag(cluster):
    here, there, elsewhere = cluster.nodes
    livestream = await cluster.livestream()
    streamer = await cluster.streamer(livestream, here, there)
    stay = await cluster.listeners(livestream, there, elsewhere)
    moves = await cluster.listener(livestream, here, elsewhere)
    await streamer.say_and_wait()
    await cluster.flagged(livestream, True)
    flags, talking = [], True

    async def watch():
        while talking:
            flags.append(await cluster.flag(livestream))
            await asyncio.sleep(0.01)

    async def talk():
        while talking:
            streamer.say()
            await asyncio.sleep(0.1)

    watching, saying = asyncio.create_task(watch()), asyncio.create_task(talk())
    code = await here.stop()
    assert code == 0
    await until(lambda: streamer.is_in() and streamer.node is there, "the streamer is let in elsewhere")
    number = max(streamer.outbox or streamer.acked)
    await all_hear([*stay, moves], number)
    everybody = [*stay, moves]
    await throughout(lambda: not any(it.told.is_set() for it in everybody), "nobody is told that it is over", GRACE + 1)
    talking = False
    await asyncio.gather(watching, saying)
    await all_hear([*stay, moves], max([*streamer.outbox, *streamer.acked]))
    assert all(flags), "the flag never went"
    for listener in stay:
        assert len(listener.visits) == 1
        times = [at for at, _, name, _ in listener.journal if name == "audio"]
        assert max(after - before for before, after in zip(times, times[1:])) < HICCUP
    livestream.check()


async def test_stop_without_a_return_ends_the_livestream(cluster):
    here, there, _ = cluster.nodes
    livestream = await cluster.livestream()
    await cluster.streamer(livestream, here)
    (listener,) = await cluster.listeners(livestream, there)
    await cluster.flagged(livestream, True)
    began = time.monotonic()
    await here.stop()
    await until(lambda: listener.states()[-1] == "reconnecting", "the grace begins at once", 2)
    await until(listener.told.is_set, "it is over", GRACE + 4)
    assert time.monotonic() - began >= GRACE - 0.2
    await cluster.flagged(livestream, False, 4)


async def test_stop_is_noticed_by_the_nodes_listeners_alone(cluster):
    here, there, elsewhere = cluster.nodes
    livestream = await cluster.livestream()
    streamer = await cluster.streamer(livestream, here)
    moves = await cluster.listener(livestream, there, elsewhere)
    stays = await cluster.listener(livestream, elsewhere)
    await streamer.say_and_wait()
    await all_hear([moves, stays], 1)
    assert await there.stop() == 0
    await until(lambda: len(moves.visits) > 1 and moves.is_in(), "it is let in elsewhere")
    await all_hear([moves, stays], (await streamer.say_and_wait()).stamp.number)
    assert len(stays.visits) == len(streamer.visits) == 1
    assert await cluster.flag(livestream)
    livestream.check()


async def test_the_last_node_that_stops_leaves_no_flag(cluster):
    livestream = await cluster.livestream()
    await cluster.streamer(livestream, cluster.nodes[0])
    await cluster.flagged(livestream, True)
    for node in reversed(cluster.nodes):
        assert await node.stop() == 0
    assert not await cluster.flag(livestream)
