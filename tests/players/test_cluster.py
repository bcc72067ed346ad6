"""Players on three nodes with a Redis: any node answers, all tell the same, and a player moves on when its node is lost."""

import asyncio
import contextlib
import itertools
import re
import signal

import aiohttp
import m3u8
import pytest
import pytest_asyncio
from audience import Audience, Recorder
from livestreams import ENVIRONMENT, free_port, get, listens, on_air, streamer, uploads
from players import Playing

from harness.server import Server
from harness.settings import SETTINGS
from harness.waiting import until

NODES = 3


@pytest_asyncio.fixture
async def cluster(google, place):
    port = free_port()
    redis = Playing(["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", place])
    nodes = []
    try:
        # A node waits for Redis by itself. A player's window is no longer than the history.
        environment = {
            **ENVIRONMENT,
            **SETTINGS["node"],
            "CASTAWAY_CLUSTER__URL": f"redis://127.0.0.1:{port}",
            "CASTAWAY_PLAYERS__HISTORY_CLIPS": "8",
            "CASTAWAY_PLAYERS__BURST_CLIPS": "1",
        }
        nodes = [await Server.start(google, environment) for _ in range(NODES)]

        async def have_redis():
            return sum([await node.metric("castaway_redis_up") for node in nodes]) == NODES

        await until(have_redis, "all nodes have Redis")
        yield nodes
    finally:
        for node in nodes:
            await node.stop(signal.SIGKILL)
        redis.stop()


async def fetched(node, livestream):
    """The playlist with its tag, and all segments that it lists."""
    folder = f"{node.url}/livestreams/{livestream.id}"
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{folder}/live.m3u8") as answer:
            text, told = await answer.text(), (answer.status, answer.headers.get("etag"))
        bodies = {}
        for segment in m3u8.loads(text).segments:
            async with session.get(f"{folder}/{segment.uri}") as answer:
                bodies[segment.uri] = (answer.status, await answer.read())
    return told, text, bodies


async def all_tell(nodes, livestream, latest):
    """What all nodes tell alike when they have a clip; otherwise, what differs."""
    found = []

    async def is_the_same():
        found[:] = [await fetched(node, livestream) for node in nodes]
        return all(f"-{latest}." in text for _, text, _ in found) and all(one == found[0] for one in found)

    try:
        await until(is_the_same, "all nodes tell the same")
    except AssertionError:
        pytest.fail("\n".join(f"{told}\n{text}" for told, text, _ in found))
    (status, _), text, bodies = found[0]
    # A clip that is not for players is a gap.
    assert status == 200 and sum(status == 200 for status, _ in bodies.values()) >= len(bodies) - 1
    return text, bodies


async def test_any_node_answers(google, cluster, clips, place):
    files, stream, _ = clips["m4a"]
    livestream = await on_air(google, cluster[0])
    url = f"{cluster[1].url}/livestreams/{livestream.id}"
    player = Playing(["curl", "--silent", "--no-buffer", "--output", place / "stream", f"{url}/live"])
    await listens(cluster[1], 1)

    async def is_counted():
        return any(name == "state" and it["listeners"] == 1 for name, it in livestream.streamer.journal)

    await until(is_counted, "the streamer learns of the listener")
    await uploads(livestream.streamer, files[:1])

    async def is_heard():
        return (place / "stream").exists() and (place / "stream").stat().st_size

    # A stream begins with the latest clip.
    await until(is_heard, "the first clip is heard")
    await uploads(livestream.streamer, files[1:])
    await all_tell(cluster, livestream, 5)
    await livestream.streamer.leave()
    assert await player.ends() == ""
    assert (place / "stream").read_bytes() == stream
    for node in cluster:

        async def is_over(node=node):
            return b"#EXT-X-ENDLIST" in (await get(node, f"{livestream.id}/live.m3u8"))[1]

        await until(is_over, "the playlist ends on every node")


def told(text):
    """The discontinuity sequence of each segment, as a player counts it."""
    playlist = m3u8.loads(text)
    count, found = playlist.discontinuity_sequence, {}
    for segment in playlist.segments:
        count += segment.discontinuity
        found[segment.uri] = count
    return found


@pytest.mark.parametrize("kind", ["m4a", "mp3"])
async def test_all_nodes_tell_the_same(google, cluster, clips, kind):
    files, _, _ = clips[kind]
    livestream = await on_air(google, cluster[0])
    await uploads(livestream.streamer, files[:2])
    await all_tell(cluster[:2], livestream, 2)
    # A gap, and a clip that is not for players.
    await asyncio.sleep(5)
    await uploads(livestream.streamer, [*files[2:4], b"OggS and more", files[4]])
    before, _ = await all_tell(cluster[:2], livestream, 6)
    assert before.count("#EXT-X-DISCONTINUITY\n") == 3 and before.count("#EXT-X-GAP\n") == 1, before
    # The streamer moves to the third node, of which no player has asked yet.
    await livestream.streamer.socket.eio.ws.close()
    livestream.streamer = await streamer(google, cluster[2], livestream)
    await uploads(livestream.streamer, files[:1])
    after, bodies = await all_tell(cluster, livestream, 7)
    # The names of before are still those of before.
    assert set(re.findall(r"^\d+-[2-6]\..*$", before, re.MULTILINE)) <= set(bodies)
    await uploads(livestream.streamer, files[:3])
    last, _ = await all_tell(cluster, livestream, 10)
    # What a player was told of a segment stays.
    for earlier, later in itertools.combinations([told(text) for text in (before, after, last)], 2):
        assert all(later[name] == count for name, count in earlier.items() if name in later), f"{before}{after}{last}"
    for name, old, new in [("MEDIA-SEQUENCE", 1, 3), ("TARGETDURATION", 2, 2)]:
        values = [int(re.search(rf"#EXT-X-{name}:(\d+)", text).group(1)) for text in (after, last)]
        assert values == [old, new], name
    await livestream.streamer.leave()


@contextlib.asynccontextmanager
async def balanced(nodes):
    """The address of a balancer that connects to the first of the nodes that takes a connection."""

    async def pump(reader, writer):
        with contextlib.suppress(OSError):
            while chunk := await reader.read(65536):
                writer.write(chunk)
                await writer.drain()
        writer.close()

    async def carry(reader, writer):
        for node in nodes:
            with contextlib.suppress(OSError):
                other_reader, other_writer = await asyncio.open_connection("127.0.0.1", node.port)
                await asyncio.gather(pump(reader, other_writer), pump(other_reader, writer))
                return
        writer.close()

    server = await asyncio.start_server(carry, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


@pytest.mark.timeout(150)
async def test_players_play_on_when_a_node_is_lost(google, cluster, tones, place):
    livestream = await on_air(google, cluster[0])
    recorder = Recorder(livestream, tones)
    await recorder.sends(3, 0)
    audience = None
    async with balanced(cluster[1:]) as front:
        try:
            audience = Audience(f"{front}/livestreams/{livestream.id}", place)
            await listens(cluster[1], audience.count, 60)
            await recorder.sends(3)
            await cluster[1].stop(signal.SIGKILL)
            await recorder.sends(4)
            await listens(cluster[2], audience.count, 10)
            # The streamer's node as well: it goes on at the node of its players.
            await cluster[0].stop(signal.SIGKILL)
            livestream.streamer = await streamer(google, cluster[2], livestream)
            await recorder.sends(4)
            await livestream.streamer.leave()
            heard = await audience.heard()
        finally:
            if audience:
                audience.stop()
    for name, clips in heard.items():
        expected = list(range(clips[0], recorder.sent + 1))
        # Each begins where it likes. A stream that connects again begins with the latest clip.
        once = [clip for clip, before in zip(clips, [0, *clips]) if clip != before]
        assert (once if name == "ffmpeg" else clips) == expected and clips[0] <= 4, f"{name} heard {clips}"
