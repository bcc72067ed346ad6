"""The newest connection of the streamer has the livestream, on any node; the earlier one is told, and is not heard again."""

import asyncio

from rig.cluster import all_hear
from rig.people import SERVER

from harness.waiting import throughout, until


def taken_over(livestream):
    return f"Livestream {livestream.id} was taken over by another connection."


async def test_takeover_from_another_node_is_told(cluster):
    livestream = await cluster.livestream()
    old = await cluster.streamer(livestream, cluster.nodes[0])
    listeners = await cluster.listeners(livestream)
    await old.say_and_wait()
    await cluster.flagged(livestream, True)
    new = await cluster.streamer(livestream, cluster.nodes[1])
    new.numbers = iter(range(1000, 2000))
    first = await new.say_and_wait()
    assert first.sequence > old.acked[1].sequence
    old.say()
    await until(old.told.is_set, "the old one is disconnected", 3)
    assert taken_over(livestream) in old.said("error")
    assert old.said("disconnect") == [SERVER]
    last = await new.say_and_wait()
    await all_hear(listeners, last.stamp.number)
    for listener in listeners:
        heard = listener.heard
        replaced = [stamp for stamp in heard if stamp.session == old.visits[0].session]
        assert heard[: len(replaced)] == replaced, "nothing of the old one after the new one"
        assert len(listener.visits) == 1
    livestream.check()
    assert await cluster.flag(livestream)


async def test_the_old_connections_end_is_not_the_livestreams(cluster):
    livestream = await cluster.livestream()
    old = await cluster.streamer(livestream, cluster.nodes[0])
    listeners = await cluster.listeners(livestream)
    await cluster.flagged(livestream, True)
    new = await cluster.streamer(livestream, cluster.nodes[2])
    await until(old.told.is_set, "the old one is disconnected", 3)
    await old.close()

    async def still_on():
        return await cluster.flag(livestream) and not any(listener.told.is_set() for listener in listeners)

    # Longer than the grace.
    await throughout(still_on, "the livestream is on", 4)
    await all_hear(listeners, (await new.say_and_wait()).stamp.number)


async def test_wandering_streamer_keeps_one_livestream(cluster):
    livestream = await cluster.livestream()
    listeners, streamers, sequences = [], [], []
    for turn in range(8):
        streamer = await cluster.streamer(livestream, cluster.nodes[turn % 3])
        streamer.numbers = iter(range(turn * 100 + 1, turn * 100 + 100))
        if not listeners:
            listeners = await cluster.listeners(livestream)
        sequences.append((await streamer.say_and_wait()).sequence)
        streamers.append(streamer)
    assert sequences == sorted(set(sequences))
    await asyncio.gather(*(until(streamer.told.is_set, "all but the last are told", 3) for streamer in streamers[:-1]))
    assert not streamers[-1].told.is_set()
    await all_hear(listeners, streamers[-1].acked.popitem()[0])
    livestream.check()


async def test_simultaneous_streamers_end_as_one(cluster):
    livestream = await cluster.livestream()
    streamers = await asyncio.gather(*(cluster.contender(livestream, node) for node in cluster.nodes))
    await until(lambda: sum(streamer.told.is_set() for streamer in streamers) == 2, "two of three are told")
    (winner,) = [streamer for streamer in streamers if not streamer.told.is_set()]
    listeners = await cluster.listeners(livestream)
    await all_hear(listeners, (await winner.say_and_wait()).stamp.number)
    assert all(taken_over(livestream) in streamer.said("error") for streamer in streamers if streamer is not winner)
