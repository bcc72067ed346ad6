"""The address that the listening page offers for other players, in the browser, and players that open it."""

import asyncio
import json
import signal

import pytest
import sound
from livestreams import ENVIRONMENT, listens, on_air, uploads
from players import PLAYERS, Playing, offered

from harness.server import Server


@pytest.mark.parametrize("access", ["public", "pass"])
async def test_address_of_the_page_plays_everywhere(google, clips, place, access):
    environment = {
        "CASTAWAY_HTTP__PAGES": "true",
        "CASTAWAY_PLAYERS__ACCESS": access,
        "CASTAWAY_LISTENER__PASSES": "streamers",
    }
    server = await Server.start(google, {**ENVIRONMENT, **environment})
    try:
        livestream = await on_air(google, server)
        files, _, expected = clips["m4a"]
        call = livestream.streamer.socket.call
        listening_pass = (await call("invite", {}, namespace="/streamer", timeout=8))["pass"]
        await uploads(livestream.streamer, files[:2])
        said = await Playing(offered(f"{server.url}/listen/{livestream.id}#pass={listening_pass}")).ends()
        assert said.startswith("{"), said
        stream, hls = (json.loads(said)[kind] for kind in ("stream", "hls"))
        assert ("pass=" in stream) == ("pass=" in hls) == (access == "pass"), said
        for url in (stream, hls):
            probed = await asyncio.to_thread(
                sound.run, "ffprobe", "-v", "error", "-show_entries", "stream=codec_name", "-of", "csv=p=0", url
            )
            assert set(probed.split()) == {b"aac"}, url
        playing = {name: Playing(PLAYERS[name](stream, place / name)) for name in ("ffmpeg", "VLC")}
        await listens(server, len(playing) + 1)
        await uploads(livestream.streamer, files[2:])
        await livestream.streamer.leave()
        for name, player in playing.items():
            said = await player.ends()
            assert not (wrong := sound.same_sound((place / name).read_bytes(), expected, 2400)), (
                f"{name}: {wrong}; {said}"
            )
    finally:
        await server.stop(signal.SIGKILL)
