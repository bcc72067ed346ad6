"""A long livestream of clips that come faster than they sound: no sample is lost, doubled or moved.

CASTAWAY_PLAYERS_MINUTES says how long: 5 by default, 33 at most.
"""

import asyncio
import itertools
import os
import signal

import m3u8
import pytest
import pytest_asyncio
import sound
from livestreams import ENVIRONMENT, get, on_air, uploads
from players import Playing

from harness.server import Server
from harness.settings import SETTINGS

MINUTES = int(os.environ.get("CASTAWAY_PLAYERS_MINUTES", "5"))


@pytest_asyncio.fixture(scope="module")
async def roomy(google):
    """A window for all clips of half an hour."""
    environment = {
        **ENVIRONMENT,
        **SETTINGS["bursts"],
        "CASTAWAY_PLAYERS__HISTORY_CLIPS": "1000",
        "CASTAWAY_PLAYERS__HISTORY_BYTES": str(1 << 30),
        "CASTAWAY_UPLOAD__BYTES_BURST": str(1 << 30),
    }
    server = await Server.start(google, environment)
    yield server
    await server.stop(signal.SIGKILL)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("kind", list(sound.ENCODERS))
async def test_long_livestream_does_not_drift(google, roomy, clips, kind, place):
    files, stream, _ = clips[kind]
    rounds = -(-MINUTES * 60 // (len(files) * sound.SECONDS))
    expected = await asyncio.to_thread(sound.decoded, stream * rounds, kind)
    assert len(expected) / 2 / 44_100 >= MINUTES * 60
    # Of their own: so many clips at once are a user's whole quota.
    livestream = await on_air(google, roomy, f"streamer-of-{kind}")
    await uploads(livestream.streamer, files[:1])
    url = f"{roomy.url}/livestreams/{livestream.id}"
    curl = Playing(["curl", "--silent", "--fail", "--output", place / "stream", f"{url}/live"])
    await uploads(livestream.streamer, (files * rounds)[1:])
    await livestream.streamer.leave()
    assert await curl.ends(60) == ""
    assert (place / "stream").read_bytes() == stream * rounds
    heard = await asyncio.to_thread(
        sound.run, "ffmpeg", "-v", "error", "-i", f"{url}/live.m3u8", *sound.RAW, "pipe:1", seconds=300
    )
    # The samples and not only their number: a frame too many or too few would move all that follow.
    assert len(heard) == len(expected) and heard == expected
    await times_are_exact(roomy, livestream, url, kind, len(files) * rounds)


async def times_are_exact(server, livestream, url, kind, clips):
    """The last packet is where the number of samples before it says, to the tick."""
    _, text = await get(server, f"{livestream.id}/live.m3u8")
    segments = m3u8.loads(text.decode()).segments
    assert [segment.media_sequence for segment in segments] == list(range(1, clips + 1))
    if kind == "mp3":
        return
    asked = ["-show_entries", "packet=pts", "-of", "csv=p=0", f"{url}/live.m3u8"]
    times = (await asyncio.to_thread(sound.run, "ffprobe", "-v", "error", *asked, seconds=300)).decode()
    times = [int(time.strip(",")) for time in times.split()]
    assert {after - before for before, after in itertools.pairwise(times)} == {1024}
