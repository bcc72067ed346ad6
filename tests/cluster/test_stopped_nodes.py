"""A node that is stopped on purpose hands over: a hiccup, and the flag stays."""

import asyncio
import time

from rig.cluster import all_hear
from rig.nodes import GRACE
from rig.waiting import throughout, until

HICCUP = 2
"""Seconds, as the issue promises."""


async def test_a_stop_of_the_hosts_node_is_a_hiccup_and_the_flag_stays(cluster):
    here, there, elsewhere = cluster.nodes
    show = await cluster.show()
    host = await cluster.host(show, here, there)
    stay = await cluster.listeners(show, there, elsewhere)
    moves = await cluster.listener(show, here, elsewhere)
    await host.say_and_wait()
    await cluster.flagged(show, True)
    flags, talking = [], True

    async def watch():
        while talking:
            flags.append(await cluster.flag(show))
            await asyncio.sleep(0.01)

    async def talk():
        while talking:
            host.say()
            await asyncio.sleep(0.1)

    watching, saying = asyncio.create_task(watch()), asyncio.create_task(talk())
    code = await here.stop()
    assert code == 0
    await until(lambda: host.is_in() and host.node is there, "the host is let in elsewhere")
    number = max(host.outbox or host.acked)
    await all_hear([*stay, moves], number)
    everybody = [*stay, moves]
    await throughout(lambda: not any(it.told.is_set() for it in everybody), "nobody is told that it is over", GRACE + 1)
    talking = False
    await asyncio.gather(watching, saying)
    await all_hear([*stay, moves], max([*host.outbox, *host.acked]))
    assert all(flags), "the flag never went"
    for listener in stay:
        assert len(listener.visits) == 1
        times = [at for at, _, name, _ in listener.journal if name == "audio"]
        assert max(after - before for before, after in zip(times, times[1:])) < HICCUP
    show.check()


async def test_a_stop_whose_host_stays_away_ends_the_livestream_elsewhere(cluster):
    here, there, _ = cluster.nodes
    show = await cluster.show()
    await cluster.host(show, here)
    (listener,) = await cluster.listeners(show, there)
    await cluster.flagged(show, True)
    began = time.monotonic()
    await here.stop()
    await until(lambda: listener.states()[-1] == "reconnecting", "the grace begins at once", 2)
    await until(listener.told.is_set, "it is over", GRACE + 4)
    assert time.monotonic() - began >= GRACE - 0.2
    await cluster.flagged(show, False, 4)


async def test_a_listeners_node_that_stops_is_noticed_by_its_own_listeners_alone(cluster):
    here, there, elsewhere = cluster.nodes
    show = await cluster.show()
    host = await cluster.host(show, here)
    moves = await cluster.listener(show, there, elsewhere)
    stays = await cluster.listener(show, elsewhere)
    await host.say_and_wait()
    await all_hear([moves, stays], 1)
    assert await there.stop() == 0
    await until(lambda: len(moves.visits) > 1 and moves.is_in(), "it is let in elsewhere")
    await all_hear([moves, stays], (await host.say_and_wait()).stamp.number)
    assert len(stays.visits) == len(host.visits) == 1
    assert await cluster.flag(show)
    show.check()


async def test_the_last_node_that_stops_leaves_no_flag(cluster):
    show = await cluster.show()
    await cluster.host(show, cluster.nodes[0])
    await cluster.flagged(show, True)
    for node in reversed(cluster.nodes):
        assert await node.stop() == 0
    assert not await cluster.flag(show)
