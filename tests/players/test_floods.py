"""Floods of requests: bad paths, bad passes, playlists that wait. Each is bounded, counted, and harms no player."""

import asyncio
import re
import signal
from collections import Counter
from pathlib import Path

import aiohttp
import pytest_asyncio
from livestreams import ENVIRONMENT, get, invited, uploads

from harness.server import Server
from harness.waiting import until

REQUESTS = 4_000
CONNECTIONS = 100
WAITING = 50
# More than a request that is under way costs, far less than it would be if each left something behind.
MEBIBYTES = 24


@pytest_asyncio.fixture(scope="module")
async def server(google):
    environment = {
        "CASTAWAY_PLAYERS__ACCESS": "pass",
        "CASTAWAY_LISTENER__PASSES": "streamers",
        "CASTAWAY_PLAYERS__MAX_WAITING": str(2 * WAITING),
        "CASTAWAY_PLAYERS__MAX_WAITING_PER_ADDRESS": str(WAITING),
        "CASTAWAY_PLAYERS__MAX_WAIT": "3s",
    }
    server = await Server.start(google, {**ENVIRONMENT, **environment})
    yield server
    await server.stop(signal.SIGKILL)


def mebibytes(server):
    status = Path(f"/proc/{server.child.process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status).group(1)) / 1024


async def flood(server, paths, headers=None):
    """How often each status was the answer."""
    statuses, paths = Counter(), iter(paths)

    async def client(session):
        for path in paths:
            async with session.get(f"{server.url}/livestreams/{path}") as answer:
                await answer.read()
                statuses[answer.status] += 1

    connector = aiohttp.TCPConnector(limit=CONNECTIONS)
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        await asyncio.gather(*[client(session) for _ in range(CONNECTIONS)])
    return statuses


async def refused(server, reason):
    return await server.metric("castaway_player_requests_refused_total", f'"{reason}"')


async def test_floods_of_bad_requests_leave_nothing_behind(google, server, clips):
    livestream = await invited(google, server)
    await uploads(livestream.streamer, clips["m4a"][0][:2])
    right = {"Authorization": f"Bearer {await google.token('bob')}"}
    floods = {
        # Livestreams that are not on air, files that are not there, passes that are none.
        "not_started": (404, lambda number: f"nobody-{number}/live.m3u8"),
        "no_segment": (404, lambda number: f"{livestream.id}/{number}-{number}.m4s"),
        "pass_invalid": (401, lambda number: f"{livestream.id}/live.m3u8?pass=x{number}"),
        "too_far_ahead": (400, lambda number: f"{livestream.id}/live.m3u8?_HLS_msn={1000 + number}"),
    }
    for reason, (status, path) in floods.items():
        # What the first of a kind costs once.
        headers = None if reason == "pass_invalid" else right
        await flood(server, [path(number) for number in range(CONNECTIONS)], headers)
        before, memory = await refused(server, reason), mebibytes(server)
        paths = [path(number) for number in range(CONNECTIONS, CONNECTIONS + REQUESTS)]
        statuses = await flood(server, paths, headers)
        counted = await refused(server, reason) - before
        assert (statuses, counted) == ({status: REQUESTS}, REQUESTS), f"{reason}: {statuses}, {counted} counted"
        grown = mebibytes(server) - memory
        assert grown < MEBIBYTES, f"{reason}: {grown:.1f} MiB more"
    # Of one address, with one player: one session.
    assert await server.metric("castaway_player_listeners") <= 1
    await livestream.streamer.leave()


async def test_waiting_requests_are_bounded(google, server, clips):
    livestream = await invited(google, server)
    files = clips["m4a"][0]
    await uploads(livestream.streamer, files[:1])
    path = f"{livestream.id}/live.m3u8?pass={livestream.listening_pass}"
    assert (await get(server, path))[0] == 200
    before, memory = await refused(server, "too_many_waiting"), mebibytes(server)
    most, crowd = 10 * WAITING, []
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def waits():
            async with session.get(f"{server.url}/livestreams/{path}&_HLS_msn=2") as answer:
                await answer.read()
                return answer.status

        crowd = [asyncio.ensure_future(waits()) for _ in range(most)]

        async def are_refused():
            return await refused(server, "too_many_waiting") - before == most - WAITING

        await until(are_refused, "all but the first wait in vain", 10)
        assert await server.metric("castaway_player_requests_waiting") == WAITING
        assert mebibytes(server) - memory < MEBIBYTES
        # A player that does not wait is served all the while.
        assert (await get(server, path))[0] == 200
        await uploads(livestream.streamer, files[1:2])
        statuses = Counter(await asyncio.gather(*crowd))
    assert statuses == {200: WAITING, 503: most - WAITING}, statuses
    assert await server.metric("castaway_player_requests_waiting") == 0
    await livestream.streamer.leave()
