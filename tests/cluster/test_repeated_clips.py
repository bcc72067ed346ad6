"""A clip with an id that is sent again is heard once: on another node, and after Redis was away."""

from rig.cluster import all_hear

from harness.waiting import until

UNAVAILABLE = "Service is temporarily unavailable, try again."


async def streamer_with_ids(cluster, livestream, *nodes):
    streamer = await cluster.streamer(livestream, *nodes)
    streamer.with_ids = True
    return streamer


def all_heard_once(listeners, last):
    """Each once. A streamer that says several again at once has no promise of their order."""
    for listener in listeners:
        assert sorted(listener.numbers()) == list(range(1, last + 1)), (listener.node.name, listener.numbers())


async def test_clips_sent_again_elsewhere_are_heard_once(cluster):
    livestream = await cluster.livestream()
    old = await streamer_with_ids(cluster, livestream, cluster.nodes[0])
    listeners = await cluster.listeners(livestream)
    firsts = [await old.say_and_wait() for _ in range(3)]
    for node in cluster.nodes[1:]:
        new = await streamer_with_ids(cluster, livestream, node)
        for first in firsts:
            again = await new.say_and_wait()
            assert again.duplicate and again.sequence == first.sequence
        firsts.append(await new.say_and_wait())
    assert [first.sequence for first in firsts] == [1, 2, 3, 4, 5]
    await all_hear(listeners, 5)
    for listener in listeners:
        assert listener.numbers() == [1, 2, 3, 4, 5], listener.node.name


async def test_clips_refused_without_redis_are_heard_once(cluster):
    livestream = await cluster.livestream()
    streamer = await streamer_with_ids(cluster, livestream, cluster.nodes[0])
    near, far = await cluster.listeners(livestream, *cluster.nodes[:2])
    await streamer.say_and_wait()
    await all_hear([near, far], 1)
    cluster.redis.kill()
    for _ in range(3):
        streamer.say()
    await near.hears_number(4, 2)
    await until(lambda: len(streamer.refusals) >= 6, "each is refused, and sent again", 20)
    assert {answer["error"] for answer in streamer.refusals} == {UNAVAILABLE}
    await cluster.redis.heal()
    for number in [2, 3, 4]:
        await streamer.answered(number, 20)
    last = await streamer.say_and_wait()
    await all_hear([near, far], last.stamp.number)
    all_heard_once([near, far], 5)
    assert near.numbers() == [1, 2, 3, 4, 5], "here they never waited for Redis"
