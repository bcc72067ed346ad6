"""A receiver of webhooks beside three nodes: of each event it is told once, whichever nodes had a part in it."""

import asyncio

import pytest_asyncio
from rig.cluster import all_hear
from rig.nodes import GRACE, LEASE
from rig.operator import ENVIRONMENT as OPERATOR
from rig.operator import ask
from rig.webhooks import Receiver

from harness.raw import raw
from harness.waiting import throughout, until

RECEIVER = Receiver()
ENVIRONMENT = {**OPERATOR, **RECEIVER.environment, "CASTAWAY_LIVESTREAM__SILENCE_AFTER": "1s"}


@pytest_asyncio.fixture
async def receiver(cluster):
    RECEIVER.told, RECEIVER.refused, RECEIVER.takes = [], [], True
    await RECEIVER.start()
    yield RECEIVER
    await RECEIVER.stop()


async def on_air(cluster, *nodes):
    """A livestream with a streamer, and listeners at every node."""
    livestream = await cluster.livestream()
    streamer = await cluster.streamer(livestream, *nodes)
    listeners = await cluster.listeners(livestream)
    await all_hear(listeners, (await streamer.say_and_wait()).stamp.number)
    return livestream, streamer


async def is_all(receiver, livestream, *kinds):
    """These were told, and for longer than a heartbeat nothing else is."""
    data = await receiver.tells(livestream.id, *kinds)
    await throughout(lambda: receiver.kinds(livestream.id) == list(kinds), f"{livestream.id} is {kinds}", 1)
    receiver.check(livestream.id)
    return data


async def returned(receiver, livestream, *before):
    """What was told once the streamer is on another node, which may be before the first one has noticed its loss."""
    await until(lambda: receiver.kinds(livestream.id)[-1] == "resumed", "the return is told")
    told = receiver.kinds(livestream.id)
    assert told in ([*before, "resumed"], [*before, "reconnecting", "resumed"]), told
    return told


async def test_each_event_is_told_by_one_node(cluster, receiver):
    here, there, third = cluster.nodes
    livestream, streamer = await on_air(cluster, here)
    await receiver.tells(livestream.id, "started")
    silences = lambda: [it for it in receiver.about(livestream.id) if it["type"] == "livestream.silent"]  # noqa: E731
    await until(silences, "the silence is told")
    await throughout(lambda: len(silences()) == 1, "the silence is told once", 1.5)
    async with raw(third.url) as eve:
        await eve.connect("streamer", await cluster.google.token("eve"), livestream.id)
        await eve.until('42/streamer,["error')
    await receiver.tells(livestream.id, "started", "refused")
    streamer.nodes[:] = [there]
    await streamer.cut()
    told = await returned(receiver, livestream, "started", "refused")
    new = await cluster.streamer(livestream, third)
    await new.say_and_wait()
    await receiver.tells(livestream.id, *told, "resumed")
    assert (await ask(here, "POST", f"/livestreams/{livestream.id}/end"))[0] == 204
    data = await is_all(receiver, livestream, *told, "resumed", "ended")
    assert (data["reason"], data["node"].rpartition("-")[0]) == ("ended_by_operator", third.name)
    assert data["totals"]["clips"] >= 1


async def test_ban_is_told_by_the_asked_node(cluster, receiver):
    here, there, third = cluster.nodes
    livestream, _ = await on_air(cluster, here)
    user = livestream.user
    await receiver.tells(livestream.id, "started")
    assert (await ask(there, "PUT", f"/bans/user/{user}", {"reason": "noise"}))[0] == 201
    data = await is_all(receiver, livestream, "started", "ended")
    assert (data["reason"], data["node"].rpartition("-")[0]) == ("banned", here.name)
    assert (await receiver.tells(user, "banned"))["node"].rpartition("-")[0] == there.name
    removed = lambda: ask(third, "DELETE", f"/bans/user/{user}")  # noqa: E731

    async def is_removed():
        return (await removed())[0] == 204

    await until(is_removed, "the third node knows the ban")
    assert (await receiver.tells(user, "banned", "unbanned"))["node"].rpartition("-")[0] == third.name


async def test_dead_node_tells_later_what_waited(cluster, receiver):
    here, there, _ = cluster.nodes
    receiver.takes = False
    livestream, streamer = await on_air(cluster, here, there)
    await until(lambda: receiver.refused, "the start is not taken")
    tried = receiver.refused[0][0]
    await here.kill()
    await streamer.say_and_wait()
    await until(lambda: len({identity for identity, _ in receiver.refused}) == 2, "the return is not taken")
    receiver.takes = True
    data = await receiver.tells(livestream.id, "resumed")
    assert data["node"].rpartition("-")[0] == there.name
    await here.start()
    await is_all(receiver, livestream, "started", "resumed")
    assert tried in [identity for identity, _ in receiver.told], "it keeps its id over the restart"
    await here.settled()
    await streamer.leave()
    assert (await is_all(receiver, livestream, "started", "resumed", "ended"))["reason"] == "ended"


async def test_end_of_a_dead_node_is_told_once(cluster, receiver):
    here, _, _ = cluster.nodes
    livestream, streamer = await on_air(cluster, here)
    await receiver.tells(livestream.id, "started")
    await here.kill()
    data = await receiver.tells(livestream.id, "started", "ended", seconds=LEASE + GRACE + 6)
    assert (data["reason"], data["streamer"], data["totals"]) == ("expired", None, None)
    await streamer.close()
    await here.start()
    await here.settled()
    await is_all(receiver, livestream, "started", "ended")


async def test_stopped_node_leaves_nothing_untold(cluster, receiver):
    here, there, _ = cluster.nodes
    livestream, streamer = await on_air(cluster, here, there)
    await receiver.tells(livestream.id, "started")
    await asyncio.gather(here.stop(), until(lambda: streamer.node is there and streamer.is_in(), "it goes on there"))
    await streamer.say_and_wait()
    await here.start()
    await here.settled()
    await is_all(receiver, livestream, *await returned(receiver, livestream, "started"))


async def test_lost_redis_is_no_event(cluster, receiver):
    here, there, _ = cluster.nodes
    livestream, streamer = await on_air(cluster, here)
    await receiver.tells(livestream.id, "started")
    cluster.redis.kill()
    await until(here.degraded, "the node misses Redis")
    await cluster.redis.heal()
    await asyncio.gather(*(node.settled() for node in cluster.nodes))
    await streamer.say_and_wait()
    await is_all(receiver, livestream, "started")

    async def is_ended():
        return (await ask(there, "POST", f"/livestreams/{livestream.id}/end"))[0] == 204

    await until(is_ended, "the other node knows it again")
    assert (await is_all(receiver, livestream, "started", "ended"))["reason"] == "ended_by_operator"
