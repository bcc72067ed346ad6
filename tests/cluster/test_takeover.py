"""The newest connection of the host has the livestream, wherever it is; the one before is told, and heard no more."""

import asyncio

from rig.cluster import all_hear
from rig.people import SERVER
from rig.waiting import throughout, until


def taken_over(show):
    return f"Livestream {show.id} was taken over by another connection."


async def test_the_old_connection_on_another_node_is_told_and_only_the_new_one_is_heard(cluster):
    show = await cluster.show()
    old = await cluster.host(show, cluster.nodes[0])
    listeners = await cluster.listeners(show)
    await old.say_and_wait()
    await cluster.flagged(show, True)
    new = await cluster.host(show, cluster.nodes[1])
    new.numbers = iter(range(1000, 2000))
    first = await new.say_and_wait()
    assert first.sequence > old.acked[1].sequence
    old.say()
    await until(old.told.is_set, "the old one is disconnected", 3)
    assert taken_over(show) in old.said("error")
    assert old.said("disconnect") == [SERVER]
    last = await new.say_and_wait()
    await all_hear(listeners, last.stamp.number)
    for listener in listeners:
        heard = listener.heard
        replaced = [stamp for stamp in heard if stamp.session == old.visits[0].session]
        assert heard[: len(replaced)] == replaced, "nothing of the old one after the new one"
        assert len(listener.visits) == 1
    show.check()
    assert await cluster.flag(show)


async def test_the_old_connections_end_is_not_the_shows(cluster):
    show = await cluster.show()
    old = await cluster.host(show, cluster.nodes[0])
    listeners = await cluster.listeners(show)
    await cluster.flagged(show, True)
    new = await cluster.host(show, cluster.nodes[2])
    await until(old.told.is_set, "the old one is disconnected", 3)
    await old.close()

    async def still_on():
        return await cluster.flag(show) and not any(listener.told.is_set() for listener in listeners)

    # Longer than the grace.
    await throughout(still_on, "the livestream is on", 4)
    await all_hear(listeners, (await new.say_and_wait()).stamp.number)


async def test_a_host_who_wanders_keeps_one_livestream_with_one_owner(cluster):
    show = await cluster.show()
    listeners, hosts, sequences = [], [], []
    for turn in range(8):
        host = await cluster.host(show, cluster.nodes[turn % 3])
        host.numbers = iter(range(turn * 100 + 1, turn * 100 + 100))
        if not listeners:
            listeners = await cluster.listeners(show)
        sequences.append((await host.say_and_wait()).sequence)
        hosts.append(host)
    assert sequences == sorted(set(sequences))
    await asyncio.gather(*(until(host.told.is_set, "all but the last are told", 3) for host in hosts[:-1]))
    assert not hosts[-1].told.is_set()
    await all_hear(listeners, hosts[-1].acked.popitem()[0])
    show.check()


async def test_two_who_come_at_the_same_time_end_as_one(cluster):
    show = await cluster.show()
    hosts = await asyncio.gather(*(cluster.contender(show, node) for node in cluster.nodes))
    await until(lambda: sum(host.told.is_set() for host in hosts) == 2, "two of three are told")
    (winner,) = [host for host in hosts if not host.told.is_set()]
    listeners = await cluster.listeners(show)
    await all_hear(listeners, (await winner.say_and_wait()).stamp.number)
    assert all(taken_over(show) in host.said("error") for host in hosts if host is not winner)
