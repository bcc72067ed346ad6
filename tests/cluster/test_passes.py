"""A listening pass of one node admits at the others, and ends everywhere with its livestream."""

import json
import subprocess

from harness.raw import raw
from harness.waiting import until

KEY = subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519"], check=True, capture_output=True, text=True).stdout
ENVIRONMENT = {"CASTAWAY_LISTENER__PASSES": "streamers", "CASTAWAY_PASSES__KEY": KEY.replace("\n", "\\n")}
ENDED = "Listening pass has ended, ask the streamer for a new link."


async def verdict(node, given, livestream):
    """The first event that a listener with this pass hears."""
    async with raw(node.url) as socket:
        await socket.connect("listener", given, livestream)
        seen = await socket.until("42/listener,")
        return seen[-1]


async def test_pass_admits_on_all_nodes_until_the_end(cluster):
    here, *others = cluster.nodes
    livestream = await cluster.livestream()
    token = await cluster.google.token(livestream.user)
    async with raw(here.url) as streamer:
        await streamer.join("streamer", token, livestream.id)
        await streamer.send('42/streamer,5["invite",{"expiresIn":60}]')
        answer = (await streamer.until("43/streamer,5"))[-1]
        given = json.loads(answer.removeprefix("43/streamer,5"))[0]["pass"]
        for node in cluster.nodes:
            assert '"success"' in await verdict(node, given, livestream.id), node.name
        await streamer.send("41/streamer,")

        async def ended():
            return [ENDED in await verdict(node, given, livestream.id) for node in cluster.nodes] == [True] * 3

        await until(ended, "no node lets the pass in")
    # Streamed again, elsewhere: the pass stays dead.
    async with raw(others[0].url) as streamer:
        await streamer.join("streamer", token, livestream.id)
        for node in cluster.nodes:
            assert ENDED in await verdict(node, given, livestream.id), node.name
