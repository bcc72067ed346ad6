"""Livestreams of the tests: a streamer on air, its clips, and what a daemon says of them."""

import contextlib
import itertools
import os
import socket
from types import SimpleNamespace

import aiohttp
from aiohttp import web

from harness.client import Client
from harness.waiting import until

ENVIRONMENT = {
    "CASTAWAY_PLAYERS__ACCESS": "public",
    "CASTAWAY_PLAYERS__HISTORY_CLIPS": "100",
    "CASTAWAY_PLAYERS__BURST_CLIPS": "100",
    "CASTAWAY_SERVER__PING_TIMEOUT": "5s",
    "CASTAWAY_LIVESTREAM__GRACE": "15s",
}
names = itertools.count(1)


async def on_air(google, server, user="streamer"):
    """A livestream with its streamer."""
    livestream = SimpleNamespace(id=f"livestream-{os.getpid()}-{next(names)}", user=user)
    await google.livestream(livestream.id, livestream.user)
    livestream.streamer = await streamer(google, server, livestream)
    return livestream


async def streamer(google, server, livestream):
    """Connects, once: what comes after an outage is a test's own decision."""
    client = Client("streamer")
    client.socket.reconnection = False
    headers = {"id-token": await google.token(livestream.user), "livestream-id": livestream.id}
    await client.connect(server.url, ["websocket"], headers)
    await client.next("success")
    return client


async def uploads(client, clips):
    for clip in clips:
        assert (await client.upload(clip))["ok"]


async def get(server, path):
    """Status and body of a file of a livestream."""
    async with aiohttp.ClientSession() as session, session.get(f"{server.url}/livestreams/{path}") as answer:
        return answer.status, await answer.read()


async def listens(server, count, seconds=8):
    async def counted():
        return await server.metric("castaway_player_listeners") >= count

    await until(counted, f"{count} players listen", seconds)


async def ended(google, server, clips):
    """A livestream that is over, with all its clips."""
    livestream = await on_air(google, server)
    await uploads(livestream.streamer, clips)
    await livestream.streamer.leave()

    async def is_over():
        status, text = await get(server, f"{livestream.id}/live.m3u8")
        return status == 200 and b"#EXT-X-ENDLIST" in text

    await until(is_over, "the playlist ends")
    return livestream


async def loses_its_network(server, livestream):
    """The streamer is away, without a word; its grace period begins."""
    await livestream.streamer.socket.eio.ws.close()

    async def is_lost():
        return await server.metric("castaway_livestreams", "reconnecting") >= 1

    await until(is_lost, "the streamer is lost")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.asynccontextmanager
async def serving(files):
    """The address of a server of these files, by their names."""

    async def file(request):
        name = request.match_info["name"]
        kind = "application/vnd.apple.mpegurl" if name.endswith(".m3u8") else "audio/mpeg"
        headers = {"Access-Control-Allow-Origin": "*"}
        return web.Response(body=files[name], content_type=kind, headers=headers)

    app = web.Application()
    app.router.add_get("/{name}", file)
    runner = web.AppRunner(app)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


async def invited(google, server):
    """A livestream and a pass of its streamer."""
    livestream = await on_air(google, server)
    call = livestream.streamer.socket.call
    livestream.listening_pass = (await call("invite", {}, namespace="/streamer", timeout=8))["pass"]
    return livestream
