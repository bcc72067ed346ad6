"""What players hear through a grace period, a takeover and a restart of the daemon."""

import asyncio
import signal

import pytest
from audience import Audience, Recorder
from livestreams import ENVIRONMENT, free_port, get, listens, loses_its_network, on_air, streamer, uploads
from players import Playing, ffmpeg

from harness.server import Server


async def test_grace_period_is_not_heard(google, daemon, clips, place):
    files, stream, expected = clips["m4a"]
    livestream = await on_air(google, daemon)
    await uploads(livestream.streamer, files[:2])
    url = f"{daemon.url}/livestreams/{livestream.id}"
    streams = [Playing(["curl", "--silent", "--fail", "--output", place / "stream", f"{url}/live"])]
    streams.append(Playing(ffmpeg(f"{url}/index.m3u8", place / "hls", "-live_start_index", "0")))
    await listens(daemon, 2)
    await loses_its_network(daemon, livestream)
    assert b"ENDLIST" not in (await get(daemon, f"{livestream.id}/live.m3u8"))[1]
    livestream.streamer = await streamer(google, daemon, livestream)
    await uploads(livestream.streamer, files[2:])
    await livestream.streamer.leave()
    for player in streams:
        assert "rror" not in await player.ends(), "a player complains"
    assert (place / "stream").read_bytes() == stream
    assert (place / "hls").read_bytes() == expected


@pytest.mark.timeout(150)
async def test_players_play_on_through_outages(google, tones, place):
    port = free_port()
    environment = {
        **ENVIRONMENT,
        "CASTAWAY_SERVER__LISTEN": f"127.0.0.1:{port}",
        "RUNTIME_DIRECTORY": str(place),
        "CASTAWAY_PLAYERS__BURST_CLIPS": "1",
    }
    state = str(place / "state")
    (place / "state").mkdir()
    server = await Server.start(google, environment, state)
    audience = None
    try:
        livestream = await on_air(google, server)
        recorder = Recorder(livestream, tones)
        await recorder.sends(3, 0)
        audience = Audience(f"{server.url}/livestreams/{livestream.id}", place)
        await listens(server, audience.count, 60)
        await recorder.sends(3)
        await loses_its_network(server, livestream)
        await asyncio.sleep(3)
        livestream.streamer = await streamer(google, server, livestream)
        await recorder.sends(2)
        # Another connection of the same user takes over.
        livestream.streamer = await streamer(google, server, livestream)
        await recorder.sends(2)
        await server.stop()
        server = await Server.start(google, environment, state)
        livestream.streamer = await streamer(google, server, livestream)
        await recorder.sends(4)
        await livestream.streamer.leave()
        for name, heard in (await audience.heard()).items():
            # Each begins where it likes. The clip in the middle of which the daemon stopped may be heard again.
            expected = list(range(heard[0], recorder.sent + 1))
            once = [clip for clip, before in zip(heard, [0, *heard]) if clip != before]
            assert once == expected and heard[0] <= 4, f"{name} heard {heard}"
    finally:
        if audience:
            audience.stop()
        await server.stop(signal.SIGKILL)
