"""An operator asks any node, and gets the answer of all."""

import asyncio

from rig.operator import ENVIRONMENT, ask
from rig.people import SERVER

from harness.waiting import until

__all__ = ["ENVIRONMENT"]


async def test_any_node_answers_for_all(cluster):
    livestreams = [await cluster.livestream() for _ in cluster.nodes]
    for livestream, node in zip(livestreams, cluster.nodes, strict=True):
        streamer = await cluster.streamer(livestream, node)
        await cluster.listeners(livestream)
        await streamer.say_and_wait()
    for node in cluster.nodes:

        async def complete(node=node):
            _, answer = await ask(node, "GET", "/livestreams?sort=listeners")
            found = {it["id"]: it for it in answer["livestreams"]}
            return answer["total"] == 3 and all(found[livestream.id]["listeners"] == 3 for livestream in livestreams) and answer

        answer = await until(complete, "each livestream once, with all its listeners")
        assert answer["unanswered"] == []
        found = {it["id"]: it for it in answer["livestreams"]}
        for livestream, owner in zip(livestreams, cluster.nodes, strict=True):
            assert (found[livestream.id]["streamer"], found[livestream.id]["state"]) == (livestream.user, "live")
            assert found[livestream.id]["node"].startswith(f"{owner.name}-")
            assert found[livestream.id]["bytes_out"] == 3 * found[livestream.id]["bytes_in"]
        ids = sorted(livestream.id for livestream in livestreams)
        pages = [(await ask(node, "GET", f"/livestreams?limit=1&offset={at}"))[1] for at in range(3)]
        assert [page["livestreams"][0]["id"] for page in pages] == ids
        _, details = await ask(node, "GET", f"/livestreams/{livestreams[0].id}")
        assert [socket["role"] for socket in details["sockets"]] == ["streamer", *["listener"] * 3]
        assert len({socket["node"] for socket in details["sockets"][1:]}) == 3
        _, nodes = await ask(node, "GET", "/nodes")
        assert [it["answers"] for it in nodes["nodes"]] == [True] * 3
        assert [it["livestreams"] for it in nodes["nodes"]] == [3] * 3


async def test_acts_reach_the_node_that_they_concern(cluster):
    livestream = await cluster.livestream()
    here, there, third = cluster.nodes
    streamer = await cluster.streamer(livestream, here)
    listener = await cluster.listener(livestream, here)
    other = await cluster.listener(livestream, third)
    status, answer = await ask(there, "DELETE", f"/livestreams/{livestream.id}/streamer?text=Too%20loud.")
    assert (status, answer) == (200, {"users": [livestream.user]})
    await until(streamer.told.is_set, "the streamer is disconnected for good", 3)
    assert "Too loud." in streamer.said("error")
    assert "token ops on" in here.log
    assert (await ask(there, "DELETE", f"/livestreams/{livestream.id}/streamer"))[0] == 409
    await cluster.streamer(livestream, here)
    _, details = await ask(there, "GET", f"/livestreams/{livestream.id}")
    socket = next(it["id"] for it in details["sockets"] if it["user"] == listener.user)
    assert (await ask(there, "DELETE", f"/sockets/{socket}"))[1] == {"users": [listener.user]}
    await until(listener.told.is_set, "the listener is disconnected for good", 3)
    assert (await ask(there, "POST", f"/livestreams/{livestream.id}/end"))[0] == 204
    await until(other.told.is_set, "the livestream is over everywhere", 3)
    assert other.said("disconnect") == [SERVER]
    await cluster.flagged(livestream, False)

    async def unknown():
        return (await ask(there, "POST", f"/livestreams/{livestream.id}/end"))[0] == 404

    await until(unknown, "no node has the livestream")
    assert (await ask(there, "DELETE", "/sockets/nobody"))[0] == 404


async def test_node_that_does_not_answer_is_named(cluster):
    livestream = await cluster.livestream()
    here, there, _ = cluster.nodes
    await cluster.streamer(livestream, here)
    there.hang()
    try:
        # At once: a node that is silent for longer is no longer one of the cluster.
        (status, answer), (_, nodes), (refused, problem) = await asyncio.gather(
            ask(here, "GET", "/livestreams"),
            ask(here, "GET", "/nodes"),
            ask(here, "POST", "/livestreams/nobody/end"),
        )
        assert status == 200
        assert livestream.id in [it["id"] for it in answer["livestreams"]]
        assert [name.rpartition("-")[0] for name in answer["unanswered"]] == [there.name]
        assert {it["name"].rpartition("-")[0]: it["answers"] for it in nodes["nodes"]}[there.name] is False
        assert (refused, there.name in problem["detail"]) == (503, True)
    finally:
        there.wake()
    # Without Redis a node answers for itself.
    await there.settled()

    async def together():
        answers = [it["answers"] for it in (await ask(here, "GET", "/nodes"))[1]["nodes"]]
        return answers == [True] * 3

    await until(together, "all nodes answer again")
    cluster.redis.kill()
    try:
        status, answer = await ask(here, "GET", "/livestreams")
        assert livestream.id in [it["id"] for it in answer["livestreams"]]
        assert len(answer["unanswered"]) == 2
    finally:
        await cluster.redis.heal()
