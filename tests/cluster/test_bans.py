"""A ban that any node is told holds on all of them at once, and for good."""

from rig.operator import ENVIRONMENT, ask
from rig.people import SERVER

from harness.raw import raw
from harness.waiting import until

__all__ = ["ENVIRONMENT"]
BANNED = "Banned by the operator of this service."


async def bans(node):
    _, answer = await ask(node, "GET", "/bans")
    return {(ban["kind"], ban["id"]): ban["reason"] for ban in answer["bans"]}


async def refused(cluster, node, role, livestream, user):
    """Whether this user is refused there as banned."""
    token = await cluster.google.token(user)
    async with raw(node.url) as socket:
        await socket.connect(role, token, livestream.id)
        return any(BANNED in str(message) for message in await socket.until(f'42/{role},["'))


async def everywhere(cluster, subject, reason, seconds=8):
    """Waits until each node has this ban; a reason of none: until none has it."""

    async def holds():
        return [(await bans(node)).get(subject) for node in cluster.nodes] == [reason] * len(cluster.nodes)

    await until(holds, f"all nodes have the ban of {subject}: {reason}", seconds)


async def test_ban_holds_on_all_nodes_at_once(cluster):
    livestream = await cluster.livestream()
    here, there, third = cluster.nodes
    streamer = await cluster.streamer(livestream, here)
    listeners = await cluster.listeners(livestream)
    await streamer.say_and_wait()
    status, _ = await ask(there, "PUT", f"/bans/user/{livestream.user}", {"reason": "noise"})
    assert status == 201
    await until(streamer.told.is_set, "the streamer is disconnected for good", 3)
    assert BANNED in streamer.said("error")
    assert streamer.said("disconnect") == [SERVER]
    for listener in listeners:
        await until(listener.told.is_set, "the livestream is over for its listeners", 3)
    await cluster.flagged(livestream, False)
    for node in cluster.nodes:
        assert await refused(cluster, node, "streamer", livestream, livestream.user), node.name
        assert await refused(cluster, node, "listener", livestream, livestream.user), node.name
    assert (await ask(third, "DELETE", f"/bans/user/{livestream.user}"))[0] == 204
    await everywhere(cluster, ("user", livestream.user), None)
    await cluster.streamer(livestream, here)


async def test_ban_holds_for_a_node_that_starts_later(cluster):
    livestream = await cluster.livestream()
    here, there, _ = cluster.nodes
    await there.stop()
    assert (await ask(here, "PUT", f"/bans/user/{livestream.user}", {"reason": "late"}))[0] == 201
    await there.start()
    await there.settled()
    await everywhere(cluster, ("user", livestream.user), "late")
    assert await refused(cluster, there, "streamer", livestream, livestream.user)


async def test_old_node_brings_no_removed_ban_back(cluster):
    livestream = await cluster.livestream()
    here, there, _ = cluster.nodes
    subject = ("user", livestream.user)
    await ask(here, "PUT", f"/bans/user/{livestream.user}", {"reason": "old"})
    await everywhere(cluster, subject, "old")
    await there.kill()
    assert (await ask(here, "DELETE", f"/bans/user/{livestream.user}"))[0] == 204
    await there.start()
    await there.settled()
    await everywhere(cluster, subject, None)


async def test_bans_survive_an_empty_redis(cluster):
    livestream = await cluster.livestream()
    here, there, third = cluster.nodes
    subject = ("livestream", livestream.id)
    await ask(here, "PUT", f"/bans/livestream/{livestream.id}", {"reason": "kept"})
    await everywhere(cluster, subject, "kept")
    await third.stop()
    cluster.redis.kill()
    # While Redis is away a ban holds on the node that was asked, and later on all.
    assert (await ask(there, "PUT", f"/bans/user/{livestream.user}", {"reason": "away"}))[0] == 202
    assert (await bans(there))["user", livestream.user] == "away"
    await cluster.redis.heal()
    await third.start()
    await third.settled()
    await everywhere(cluster, subject, "kept")
    await everywhere(cluster, ("user", livestream.user), "away")
    assert await refused(cluster, third, "listener", livestream, "anybody")
