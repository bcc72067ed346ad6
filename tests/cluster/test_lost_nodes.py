"""A node that dies is a hiccup: its streamer and its listeners go on elsewhere, and everybody else notices nothing."""

import asyncio
import time

from rig.cluster import all_hear
from rig.nodes import GRACE, LEASE

from harness.waiting import throughout, until


async def test_streamer_of_a_dead_node_keeps_its_sequences(cluster):
    here, there, elsewhere = cluster.nodes
    livestream = await cluster.livestream()
    streamer = await cluster.streamer(livestream, here, there)
    stay = await cluster.listeners(livestream, there, elsewhere, each=2)
    comes_back = await cluster.listener(livestream, here, elsewhere)
    for _ in range(10):
        await streamer.say_and_wait(20_000)
    await all_hear([*stay, comes_back], 10)
    before = streamer.acked[10].sequence
    await here.kill()
    for _ in range(5):
        streamer.say()
    await streamer.answered(15)
    assert streamer.acked[11].sequence == before + 1
    for _ in range(5):
        await streamer.say_and_wait()
    await all_hear([*stay, comes_back], 20)
    assert streamer.node is there
    for listener in stay:
        assert len(listener.visits) == 1 and listener.numbers() == list(range(1, 21))
    livestream.check()
    await cluster.flagged(livestream, True)


async def test_listeners_elsewhere_are_told_of_the_return(cluster):
    here, there, elsewhere = cluster.nodes
    livestream = await cluster.livestream()
    streamer = await cluster.streamer(livestream, here)
    listeners = await cluster.listeners(livestream, there, elsewhere)
    await streamer.say_and_wait()
    await cluster.flagged(livestream, True)
    await here.kill()
    for listener in listeners:
        reconnects = lambda: listener.states()[-1] == "reconnecting"  # noqa: E731
        await until(reconnects, f"{listener} is told that the streamer is away", LEASE + 2)
    await cluster.flagged(livestream, True)
    streamer.nodes.append(there)
    again = await cluster.streamer(livestream, elsewhere)
    again.numbers = iter(range(50, 99))
    assert (await again.say_and_wait()).sequence == streamer.acked[1].sequence + 1
    await all_hear(listeners, 50)
    for listener in listeners:
        await until(lambda: listener.states()[-1] == "live", f"{listener} is told that it is live", 2)
        assert len(listener.visits) == 1
    livestream.check()


async def test_livestream_whose_streamer_stays_away_ends_everywhere(cluster):
    here, there, elsewhere = cluster.nodes
    livestream = await cluster.livestream()
    streamer = await cluster.streamer(livestream, here)
    listeners = await cluster.listeners(livestream, there, elsewhere, each=2)
    await streamer.say_and_wait()
    await cluster.flagged(livestream, True)
    began = time.monotonic()
    await here.kill()
    for listener in listeners:
        await until(listener.told.is_set, f"{listener} is told that it is over", LEASE + GRACE + 4)
        assert listener.states()[-1] == "ended"
    assert time.monotonic() - began > GRACE, "not before the grace is over"
    await cluster.flagged(livestream, False, 4)


async def test_livestream_of_a_dead_node_without_listeners_ends(cluster):
    here, _, _ = cluster.nodes
    livestream = await cluster.livestream()
    await cluster.streamer(livestream, here)
    await cluster.flagged(livestream, True)
    await here.kill()
    await cluster.flagged(livestream, False, LEASE + GRACE + 6)


async def test_returned_node_leaves_flags_of_other_nodes_alone(cluster):
    here, there, elsewhere = cluster.nodes
    livestream = await cluster.livestream()
    streamer = await cluster.streamer(livestream, here, there)
    (far,) = await cluster.listeners(livestream, elsewhere)
    await streamer.say_and_wait()
    await cluster.flagged(livestream, True)
    await here.kill()
    await streamer.say_and_wait()
    await cluster.flagged(livestream, True)
    seen = []

    async def watch():
        while True:
            seen.append(await cluster.flag(livestream))
            await asyncio.sleep(0.02)

    watching = asyncio.create_task(watch())
    await here.start()
    await here.settled()
    near = await cluster.listener(livestream, here)
    await near.hears_number(2, 1)
    number = (await streamer.say_and_wait()).stamp.number
    await all_hear([near, far], number)
    await throughout(lambda: all(seen), "the flag stays", 2)
    watching.cancel()
    own = await cluster.livestream()
    other = await cluster.streamer(own, here)
    group = await cluster.listeners(own)
    await all_hear(group, (await other.say_and_wait()).stamp.number)
    assert len(far.visits) == 1
    livestream.check()


async def test_dead_node_is_noticed_by_its_listeners_alone(cluster):
    here, there, elsewhere = cluster.nodes
    livestream = await cluster.livestream()
    streamer = await cluster.streamer(livestream, here)
    lost = [await cluster.listener(livestream, there, elsewhere) for _ in range(2)]
    others = await cluster.listeners(livestream, here, elsewhere)
    for _ in range(5):
        await streamer.say_and_wait()
    await all_hear([*lost, *others], 5)
    await there.kill()
    for listener in lost:
        await until(lambda: len(listener.visits) > 1 and listener.is_in(), f"{listener} is let in elsewhere")
        await until(lambda: listener.visits[-1].stamps, "the latest clip is heard at once", 1)
        assert listener.visits[-1].stamps[0].number == 5
    for _ in range(5):
        await streamer.say_and_wait()
    await all_hear([*lost, *others], 10)
    for person in [streamer, *others]:
        assert len(person.visits) == 1 and set(person.states()) == {"live"}
    livestream.check()

    async def counted():
        return (await streamer.say_and_wait()).listeners == 4

    await until(counted, "a dead node's listeners are no longer counted", LEASE + 5)


async def test_hanging_node_loses_its_livestream_and_wakes_harmless(cluster):
    here, there, elsewhere = cluster.nodes
    livestream = await cluster.livestream()
    streamer = await cluster.streamer(livestream, here, there)
    listeners = await cluster.listeners(livestream, there, elsewhere)
    await streamer.say_and_wait()
    await cluster.flagged(livestream, True)
    here.hang()
    try:
        number = streamer.say()
        # Its streamer's library gives it up by itself, for it hears no ping.
        await streamer.answered(number, 10)
        assert streamer.node is there
        await until(lambda: _longer_than_a_lease(streamer, LEASE), "the old lease is over", LEASE + 2)
    finally:
        here.wake()

    async def still_on():
        await streamer.say_and_wait()
        return await cluster.flag(livestream) and not any(listener.told.is_set() for listener in listeners)

    await throughout(still_on, "the livestream is on", 3)
    await all_hear(listeners, (await streamer.say_and_wait()).stamp.number)
    assert all(len(listener.visits) == 1 for listener in listeners)
    livestream.check()


def _longer_than_a_lease(streamer, lease):
    moved = next(at for at, node, name, _ in streamer.journal if name == "success" and node == streamer.node.name)
    return time.monotonic() - moved > lease
