"""A node that dies is a hiccup: its host and its listeners go on elsewhere, and everybody else notices nothing."""

import asyncio
import time

from rig.cluster import all_hear
from rig.nodes import GRACE, LEASE
from rig.waiting import throughout, until


async def test_a_host_whose_node_dies_goes_on_elsewhere_with_the_next_sequence(cluster):
    here, there, elsewhere = cluster.nodes
    show = await cluster.show()
    host = await cluster.host(show, here, there)
    stay = await cluster.listeners(show, there, elsewhere, each=2)
    comes_back = await cluster.listener(show, here, elsewhere)
    for _ in range(10):
        await host.say_and_wait(20_000)
    await all_hear([*stay, comes_back], 10)
    before = host.acked[10].sequence
    await here.kill()
    for _ in range(5):
        host.say()
    await host.answered(15)
    assert host.acked[11].sequence == before + 1
    for _ in range(5):
        await host.say_and_wait()
    await all_hear([*stay, comes_back], 20)
    assert host.node is there
    for listener in stay:
        assert len(listener.visits) == 1 and listener.numbers() == list(range(1, 21))
    show.check()
    await cluster.flagged(show, True)


async def test_listeners_elsewhere_are_told_that_it_reconnects_and_that_it_is_live_again(cluster):
    here, there, elsewhere = cluster.nodes
    show = await cluster.show()
    host = await cluster.host(show, here)
    listeners = await cluster.listeners(show, there, elsewhere)
    await host.say_and_wait()
    await here.kill()
    for listener in listeners:
        reconnects = lambda: listener.states()[-1] == "reconnecting"  # noqa: E731
        await until(reconnects, f"{listener} is told that the host is away", LEASE + 2)
    await cluster.flagged(show, True)
    host.nodes.append(there)
    again = await cluster.host(show, elsewhere)
    again.numbers = iter(range(50, 99))
    assert (await again.say_and_wait()).sequence == host.acked[1].sequence + 1
    await all_hear(listeners, 50)
    for listener in listeners:
        await until(lambda: listener.states()[-1] == "live", f"{listener} is told that it is live", 2)
        assert len(listener.visits) == 1
    show.check()


async def test_a_livestream_whose_host_never_comes_back_ends_everywhere(cluster):
    here, there, elsewhere = cluster.nodes
    show = await cluster.show()
    host = await cluster.host(show, here)
    listeners = await cluster.listeners(show, there, elsewhere, each=2)
    await host.say_and_wait()
    await cluster.flagged(show, True)
    began = time.monotonic()
    await here.kill()
    for listener in listeners:
        await until(listener.told.is_set, f"{listener} is told that it is over", LEASE + GRACE + 4)
        assert listener.states()[-1] == "ended"
    assert time.monotonic() - began > GRACE, "not before the grace is over"
    await cluster.flagged(show, False, 4)


async def test_a_livestream_of_a_dead_node_that_nobody_hears_is_not_left_on_air(cluster):
    here, _, _ = cluster.nodes
    show = await cluster.show()
    await cluster.host(show, here)
    await cluster.flagged(show, True)
    await here.kill()
    await cluster.flagged(show, False, LEASE + GRACE + 6)


async def test_a_node_that_is_back_works_and_leaves_the_flag_of_a_livestream_that_is_on_elsewhere(cluster):
    here, there, elsewhere = cluster.nodes
    show = await cluster.show()
    host = await cluster.host(show, here, there)
    (far,) = await cluster.listeners(show, elsewhere)
    await host.say_and_wait()
    await cluster.flagged(show, True)
    await here.kill()
    await host.say_and_wait()
    await cluster.flagged(show, True)
    seen = []

    async def watch():
        while True:
            seen.append(await cluster.flag(show))
            await asyncio.sleep(0.02)

    watching = asyncio.create_task(watch())
    await here.start()
    await here.settled()
    near = await cluster.listener(show, here)
    await near.hears_number(2, 1)
    number = (await host.say_and_wait()).stamp.number
    await all_hear([near, far], number)
    await throughout(lambda: all(seen), "the flag stays", 2)
    watching.cancel()
    own = await cluster.show()
    other = await cluster.host(own, here)
    group = await cluster.listeners(own)
    await all_hear(group, (await other.say_and_wait()).stamp.number)
    assert len(far.visits) == 1
    show.check()


async def test_a_listeners_node_that_dies_is_noticed_by_its_own_listeners_alone(cluster):
    here, there, elsewhere = cluster.nodes
    show = await cluster.show()
    host = await cluster.host(show, here)
    lost = [await cluster.listener(show, there, elsewhere) for _ in range(2)]
    others = await cluster.listeners(show, here, elsewhere)
    for _ in range(5):
        await host.say_and_wait()
    await all_hear([*lost, *others], 5)
    await there.kill()
    for listener in lost:
        await until(lambda: len(listener.visits) > 1 and listener.is_in(), f"{listener} is let in elsewhere")
        await until(lambda: listener.visits[-1].stamps, "the latest clip is heard at once", 1)
        assert listener.visits[-1].stamps[0].number == 5
    for _ in range(5):
        await host.say_and_wait()
    await all_hear([*lost, *others], 10)
    for person in [host, *others]:
        assert len(person.visits) == 1 and set(person.states()) == {"live"}
    show.check()

    async def counted():
        return (await host.say_and_wait()).listeners == 4

    await until(counted, "a dead node's listeners are no longer counted", LEASE + 5)


async def test_a_node_that_hangs_loses_its_show_and_does_no_harm_when_it_wakes(cluster):
    here, there, elsewhere = cluster.nodes
    show = await cluster.show()
    host = await cluster.host(show, here, there)
    listeners = await cluster.listeners(show, there, elsewhere)
    await host.say_and_wait()
    await cluster.flagged(show, True)
    here.hang()
    try:
        number = host.say()
        # Its host's library gives it up by itself, for it hears no ping.
        await host.answered(number, 10)
        assert host.node is there
        await until(lambda: _longer_than_a_lease(host, LEASE), "the old lease is over", LEASE + 2)
    finally:
        here.wake()

    async def still_on():
        await host.say_and_wait()
        return await cluster.flag(show) and not any(listener.told.is_set() for listener in listeners)

    await throughout(still_on, "the livestream is on", 3)
    await all_hear(listeners, (await host.say_and_wait()).stamp.number)
    assert all(len(listener.visits) == 1 for listener in listeners)
    show.check()


def _longer_than_a_lease(host, lease):
    moved = next(at for at, node, name, _ in host.journal if name == "success" and node == host.node.name)
    return time.monotonic() - moved > lease
