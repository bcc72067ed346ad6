"""What players hear through a grace period, a takeover, a restart of the daemon, and from any node of a cluster."""

import asyncio
import json
import signal

import m3u8
import pytest
import pytest_asyncio
import sound
from livestreams import ENVIRONMENT, free_port, get, listens, loses_its_network, on_air, streamer, uploads
from players import Playing, ffmpeg, hls_js, vlc

from harness.server import Server
from harness.waiting import until


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


class Recorder:
    """A streamer that records and sends in real time."""

    def __init__(self, livestream, tones):
        self.livestream = livestream
        self.clips = iter(tones)
        self.sent = 0

    async def sends(self, count, seconds=sound.SECONDS):
        for _ in range(count):
            await uploads(self.livestream.streamer, [next(self.clips)])
            self.sent += 1
            await asyncio.sleep(seconds)


class Audience:
    """hls.js and VLC by HLS, ffmpeg by the stream: players that connect again."""

    def __init__(self, url, place):
        self.place = place
        again = ["-reconnect", "1", "-reconnect_streamed", "1", "-reconnect_on_network_error", "1"]
        self.browser = Playing(hls_js(f"{url}/index.m3u8"))
        self.others = {
            "VLC": Playing(vlc(f"{url}/index.m3u8", place / "VLC")),
            "ffmpeg": Playing(ffmpeg(f"{url}/live", place / "ffmpeg", *again)),
        }
        self.count = 1 + len(self.others)

    async def heard(self):
        """The clips that each has heard when it ends, by its name."""
        said = await self.browser.ends(90)
        lines = [json.loads(line) for line in said.splitlines()]
        assert not [line for line in lines if "fatal" in line], said
        heard = {"hls.js": [line["heard"] for line in lines if "heard" in line]}
        for name, player in self.others.items():
            await player.ends(90)
            heard[name] = sound.heard_tones((self.place / name).read_bytes())
        return heard

    def stop(self):
        for player in [self.browser, *self.others.values()]:
            player.stop()


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


@pytest_asyncio.fixture
async def cluster(google, place):
    """Two nodes with a Redis."""
    port = free_port()
    redis = Playing(["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", place])
    nodes = []
    try:
        # A node waits for Redis by itself.
        environment = {**ENVIRONMENT, "CASTAWAY_CLUSTER__URL": f"redis://127.0.0.1:{port}"}
        nodes = [await Server.start(google, environment) for _ in range(2)]

        async def have_redis():
            return sum([await node.metric("castaway_redis_up") for node in nodes]) == 2

        await until(have_redis, "both nodes have Redis")
        yield nodes
    finally:
        for node in nodes:
            await node.stop(signal.SIGKILL)
        redis.stop()


async def followed(google, cluster, place):
    """A livestream on the first node, with a player on the second, which knows nothing of it until it is asked."""
    livestream = await on_air(google, cluster[0])
    url = f"{cluster[1].url}/livestreams/{livestream.id}"
    player = Playing(["curl", "--silent", "--output", place / "stream", f"{url}/live"])
    await listens(cluster[1], 1)

    async def is_counted():
        return any(name == "state" and it["listeners"] == 1 for name, it in livestream.streamer.journal)

    await until(is_counted, "the streamer learns of the listener")
    return livestream, player


async def playlist_with(server, livestream, sequence):
    """The playlist, when it has this clip."""
    path = f"{livestream.id}/live.m3u8"

    async def has_clip():
        return f"-{sequence}.m4s".encode() in (await get(server, path))[1]

    await until(has_clip, f"the playlist has clip {sequence}")
    return m3u8.loads((await get(server, path))[1].decode())


async def test_any_node_answers(google, cluster, clips, place):
    files, stream, _ = clips["m4a"]
    livestream, player = await followed(google, cluster, place)
    await uploads(livestream.streamer, files)
    await playlist_with(cluster[1], livestream, 5)
    await livestream.streamer.leave()
    assert await player.ends() == ""
    assert (place / "stream").read_bytes() == stream
    assert b"#EXT-X-ENDLIST" in (await get(cluster[1], f"{livestream.id}/live.m3u8"))[1]


async def test_playlist_continues_on_another_node(google, cluster, clips, place):
    files, _, _ = clips["m4a"]
    livestream, player = await followed(google, cluster, place)
    await uploads(livestream.streamer, files[:4])
    before = await playlist_with(cluster[1], livestream, 4)
    await cluster[1].stop(signal.SIGKILL)
    await player.ends()
    await uploads(livestream.streamer, files[4:])
    after = await playlist_with(cluster[0], livestream, 5)
    times = [
        {segment.media_sequence: segment.program_date_time for segment in playlist.segments}
        for playlist in (before, after)
    ]
    # The same clip has the same number and, but for its way between the nodes, the same time.
    both = set(times[0]) & set(times[1])
    assert both == set(times[0]) and max(times[1]) == 5
    assert all(abs((times[0][clip] - times[1][clip]).total_seconds()) < 1 for clip in both)
    for segment in after.segments:
        assert (await get(cluster[0], f"{livestream.id}/{segment.uri}"))[0] == 200
    await livestream.streamer.leave()
