"""A clip with an id that is sent again is heard once: on another node, and after Redis was away."""

from rig.cluster import all_hear
from rig.waiting import until

UNAVAILABLE = "Service is temporarily unavailable, try again."


async def host_with_ids(cluster, show, *nodes):
    host = await cluster.host(show, *nodes)
    host.with_ids = True
    return host


def all_heard_once(listeners, last):
    """Each once. A host that says several again at once has no promise of their order."""
    for listener in listeners:
        assert sorted(listener.numbers()) == list(range(1, last + 1)), (listener.node.name, listener.numbers())


async def test_clips_sent_again_to_another_node_are_heard_once(cluster):
    show = await cluster.show()
    old = await host_with_ids(cluster, show, cluster.nodes[0])
    listeners = await cluster.listeners(show)
    firsts = [await old.say_and_wait() for _ in range(3)]
    for node in cluster.nodes[1:]:
        new = await host_with_ids(cluster, show, node)
        for first in firsts:
            again = await new.say_and_wait()
            assert again.duplicate and again.sequence == first.sequence
        firsts.append(await new.say_and_wait())
    assert [first.sequence for first in firsts] == [1, 2, 3, 4, 5]
    await all_hear(listeners, 5)
    for listener in listeners:
        assert listener.numbers() == [1, 2, 3, 4, 5], listener.node.name


async def test_clips_refused_while_redis_is_away_are_heard_once(cluster):
    show = await cluster.show()
    host = await host_with_ids(cluster, show, cluster.nodes[0])
    near, far = await cluster.listeners(show, *cluster.nodes[:2])
    await host.say_and_wait()
    await all_hear([near, far], 1)
    cluster.redis.kill()
    for _ in range(3):
        host.say()
    await near.hears_number(4, 2)
    await until(lambda: len(host.refusals) >= 6, "each is refused, and sent again", 20)
    assert {answer["error"] for answer in host.refusals} == {UNAVAILABLE}
    await cluster.redis.heal()
    for number in [2, 3, 4]:
        await host.answered(number, 20)
    last = await host.say_and_wait()
    await all_hear([near, far], last.stamp.number)
    all_heard_once([near, far], 5)
    assert near.numbers() == [1, 2, 3, 4, 5], "here they never waited for Redis"
