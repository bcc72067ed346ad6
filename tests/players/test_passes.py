"""Players with a listening pass: real ones by its address, and what a pass of another, or an ended one, gets."""

import asyncio
import itertools
import signal

import aiohttp
import pytest
import pytest_asyncio
import sound
from livestreams import ENVIRONMENT, get, invited, uploads
from players import PLAYERS, Playing

from harness.server import Server
from harness.waiting import until


@pytest_asyncio.fixture(scope="module")
async def server(google):
    environment = {"CASTAWAY_PLAYERS__ACCESS": "pass", "CASTAWAY_LISTENER__PASSES": "streamers"}
    server = await Server.start(google, {**ENVIRONMENT, **environment})
    yield server
    await server.stop(signal.SIGKILL)


@pytest.mark.parametrize("file", ["live", "index.m3u8"])
async def test_players_listen_with_a_pass_in_the_address(google, server, clips, place, file):
    files, _, expected = clips["m4a"]
    livestream = await invited(google, server)
    await uploads(livestream.streamer, files[:3])
    url = f"{server.url}/livestreams/{livestream.id}/{file}?pass={livestream.listening_pass}"
    # The pass ends with the livestream: each must have its files before.
    is_stream = file == "live"
    kind, at_first, later = ("stream", 1, 0) if is_stream else ("segment", 3, 2)

    async def asked():
        return await server.metric("castaway_player_requests_total", f'"{kind}"')

    async def all_ask(count):
        expected = await asked() + count

        async def have_asked():
            return await asked() >= expected

        return until(have_asked, f"{count} files are asked for", 20)

    playing = {}
    for name, command in PLAYERS.items():
        ask = await all_ask(at_first)
        playing[name] = Playing(command(url, place / name))
        await ask
    ask = await all_ask(later * len(PLAYERS))
    await uploads(livestream.streamer, files[3:])
    await ask
    await livestream.streamer.leave()
    for name, player in playing.items():
        said = await player.ends()
        heard = (place / name).read_bytes()
        if is_stream:
            assert not (wrong := sound.same_sound(heard, expected, 2400)), f"{name}: {wrong}; {said}"
        else:
            # Some begin three clips before the end; to begin at all they need every file.
            assert len(heard) > 2 * sound.SECONDS * 44_100, f"{name}: {said}"
    assert livestream.listening_pass not in server.log


async def test_pass_in_a_header_opens_every_file(google, server, clips):
    livestream = await invited(google, server)
    await uploads(livestream.streamer, clips["m4a"][0])
    headers = {"authorization": f"Bearer {livestream.listening_pass}"}
    async with aiohttp.ClientSession(headers=headers) as session:

        async def file(name):
            async with session.get(f"{server.url}/livestreams/{livestream.id}/{name}") as answer:
                assert answer.status == 200, f"{name}: {answer.status}"
                assert "public" not in answer.headers["cache-control"]
                return await answer.text(errors="replace")

        assert "live.m3u8\n" in await file("index.m3u8")
        playlist = await file("live.m3u8")
        assert "pass=" not in playlist
        for line in playlist.splitlines():
            if line and not line.startswith("#"):
                await file(line)


async def test_wrong_and_ended_passes_are_refused(google, server, clips, place):
    livestream, other = await invited(google, server), await invited(google, server)
    for it in (livestream, other):
        await uploads(it.streamer, clips["m4a"][0])
    good = livestream.listening_pass
    wrong = ["", "nonsense", other.listening_pass, good[:-4], await google.token("bob"), "x" * 5_000]
    files = ["live", "index.m3u8", "live.m3u8", "1-1.m4s", "aac-44100-1.mp4"]
    for file, bad in itertools.product(files, [None, *wrong]):
        query = "" if bad is None else f"?pass={bad}"
        status, said = await get(server, f"{livestream.id}/{file}{query}")
        assert status == 401, f"{file}{query}: {status} {said}"
    url = f"{server.url}/livestreams/{livestream.id}/index.m3u8?pass="
    for name, command in PLAYERS.items():
        player = Playing(command(url + other.listening_pass, place / name))
        await player.ends()
        assert not (place / name).exists() or not (place / name).read_bytes(), f"{name} hears with a wrong pass"
    assert (await get(server, f"{livestream.id}/live.m3u8?pass={good}"))[0] == 200
    await livestream.streamer.leave()

    async def has_ended():
        status, said = await get(server, f"{livestream.id}/live.m3u8?pass={good}")
        return status == 401 and b"has ended" in said

    await until(has_ended, "the pass ends with its livestream")
    await asyncio.gather(other.streamer.leave())
