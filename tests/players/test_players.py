"""What real players hear is what the streamer sent, sample by sample."""

import asyncio
import itertools
import signal

import m3u8
import pytest
import pytest_asyncio
import sound
from livestreams import (
    ENVIRONMENT,
    ended,
    free_port,
    get,
    listens,
    loses_its_network,
    on_air,
    streamer,
    uploads,
)
from players import PLAYERS, Playing, ffmpeg

from harness.server import Server
from harness.waiting import until


@pytest_asyncio.fixture(scope="module")
async def daemon(google):
    server = await Server.start(google, ENVIRONMENT)
    yield server
    await server.stop(signal.SIGKILL)


@pytest.mark.parametrize("kind", list(sound.ENCODERS))
async def test_stream_has_every_byte_of_the_clips(google, daemon, clips, kind, place):
    files, stream, expected = clips[kind]
    livestream = await on_air(google, daemon)
    await uploads(livestream.streamer, files[:1])
    url = f"{daemon.url}/livestreams/{livestream.id}/live"
    heard = place / "heard"
    curl = Playing(["curl", "--silent", "--fail", "--no-buffer", "--output", heard, url])
    decoder = Playing(ffmpeg(url, place / "decoded"))
    await listens(daemon, 2)
    for clip in files[1:]:
        await uploads(livestream.streamer, [clip])
        await asyncio.sleep(0.1)
    await livestream.streamer.leave()
    for player in (curl, decoder):
        assert await player.ends() == ""
    assert heard.read_bytes() == stream
    assert (place / "decoded").read_bytes() == expected


@pytest.mark.parametrize("kind", ["m4a", "mp3"])
@pytest.mark.parametrize("player", list(PLAYERS))
async def test_player_hears_the_live_stream(google, daemon, clips, kind, player, place):
    files, _, expected = clips[kind]
    livestream = await on_air(google, daemon)
    await uploads(livestream.streamer, files[:2])
    heard = place / "heard"
    playing = Playing(PLAYERS[player](f"{daemon.url}/livestreams/{livestream.id}/live", heard))
    await listens(daemon, 1)
    await uploads(livestream.streamer, files[2:])
    await livestream.streamer.leave()
    said = await playing.ends()
    assert heard.exists() and not (wrong := sound.same_sound(heard.read_bytes(), expected, 2400)), f"{wrong}; {said}"


@pytest.mark.parametrize("kind", ["m4a", "mp3"])
@pytest.mark.parametrize("player", list(PLAYERS))
async def test_player_hears_every_segment(google, daemon, clips, kind, player, place):
    files, _, expected = clips[kind]
    livestream = await ended(google, daemon, files)
    heard = place / "heard"
    said = await Playing(PLAYERS[player](f"{daemon.url}/livestreams/{livestream.id}/index.m3u8", heard)).ends()
    assert heard.exists() and not (wrong := sound.same_sound(heard.read_bytes(), expected, 2400)), f"{wrong}; {said}"


@pytest.mark.parametrize("kind", list(sound.ENCODERS))
async def test_segments_are_every_sample_of_the_clips(google, daemon, clips, kind):
    files, _, expected = clips[kind]
    livestream = await ended(google, daemon, files)
    url = f"{daemon.url}/livestreams/{livestream.id}/live.m3u8"
    assert await asyncio.to_thread(sound.run, "ffmpeg", "-v", "error", "-i", url, *sound.RAW, "pipe:1") == expected


@pytest.mark.parametrize("kind", ["m4a", "aac"])
async def test_times_of_packets_are_continuous(google, daemon, clips, kind):
    files, _, expected = clips[kind]
    livestream = await ended(google, daemon, files)
    asked = [
        "-show_entries",
        "packet=pts_time",
        "-of",
        "csv=p=0",
        f"{daemon.url}/livestreams/{livestream.id}/live.m3u8",
    ]
    times = await asyncio.to_thread(sound.run, "ffprobe", "-v", "error", *asked)
    times = [float(time.strip(",")) for time in times.decode().split()]
    assert len(times) == len(expected) // 2 // 1024
    assert not [pair for pair in itertools.pairwise(times) if abs(pair[1] - pair[0] - 1024 / 44_100) > 3e-6]


async def test_times_of_mp3_segments_are_continuous(google, daemon, clips):
    files, stream, _ = clips["mp3"]
    livestream = await ended(google, daemon, files)
    _, text = await get(daemon, f"{livestream.id}/live.m3u8")
    tag, at, audio = b"com.apple.streaming.transportStreamTimestamp\0", 0, b""
    for segment in m3u8.loads(text.decode()).segments:
        _, body = await get(daemon, f"{livestream.id}/{segment.uri}")
        start = body.index(tag) + len(tag)
        assert int.from_bytes(body[start : start + 8]) == at * 90_000 // 44_100
        audio += body[start + 8 :]
        at += round(segment.duration * 44_100 / 1152) * 1152
    assert audio == stream


@pytest.mark.parametrize("kind", ["m4a", "mp3"])
async def test_playlists_pass_a_strict_parser(google, daemon, clips, kind):
    files, _, _ = clips[kind]
    livestream = await ended(google, daemon, files)
    _, text = await get(daemon, f"{livestream.id}/index.m3u8")
    index = m3u8.loads(text.decode(), custom_tags_parser=None)
    assert [stream.uri for stream in index.playlists] == ["live.m3u8"]
    stream = index.playlists[0].stream_info
    assert stream.codecs == ("mp4a.40.34" if kind == "mp3" else "mp4a.40.2")
    _, text = await get(daemon, f"{livestream.id}/live.m3u8")
    parsed = m3u8.parse(text.decode(), strict=True)
    assert parsed["is_endlist"] and parsed["media_sequence"] == 1
    assert parsed["server_control"]["can_block_reload"] == "YES"
    durations = [segment["duration"] for segment in parsed["segments"]]
    assert len(durations) == len(files) and all(duration < parsed["targetduration"] + 0.5 for duration in durations)
    for segment in parsed["segments"]:
        status, body = await get(daemon, f"{livestream.id}/{segment['uri']}")
        assert status == 200 and len(body) * 8 / segment["duration"] <= stream.bandwidth


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


async def test_any_node_answers(google, clips, place):
    files, stream, _ = clips["m4a"]
    port = free_port()
    redis = Playing(["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", place])
    nodes, players = [], []
    try:
        # A node waits for Redis by itself.
        environment = {**ENVIRONMENT, "CASTAWAY_CLUSTER__URL": f"redis://127.0.0.1:{port}"}
        nodes = [await Server.start(google, environment) for _ in range(2)]

        async def have_redis():
            return sum([await node.metric("castaway_redis_up") for node in nodes]) == 2

        await until(have_redis, "both nodes have Redis")
        livestream = await on_air(google, nodes[0])
        # The other node knows nothing of the livestream until it is asked.
        url = f"{nodes[1].url}/livestreams/{livestream.id}"
        players.append(Playing(["curl", "--silent", "--fail", "--output", place / "stream", f"{url}/live"]))
        await listens(nodes[1], 1)

        async def is_counted():
            return any(name == "state" and it["listeners"] == 1 for name, it in livestream.streamer.journal)

        await until(is_counted, "the streamer learns of the listener")
        await uploads(livestream.streamer, files)

        async def has_segments():
            return b"-5.m4s" in (await get(nodes[1], f"{livestream.id}/live.m3u8"))[1]

        await until(has_segments, "the playlist has every clip")
        await livestream.streamer.leave()
        assert await players[0].ends() == ""
        assert (place / "stream").read_bytes() == stream
        assert b"#EXT-X-ENDLIST" in (await get(nodes[1], f"{livestream.id}/live.m3u8"))[1]
    finally:
        for node in nodes:
            await node.stop(signal.SIGKILL)
        for player in [*players, redis]:
            player.stop()
