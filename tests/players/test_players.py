"""What real players hear is what the streamer sent, sample by sample."""

import asyncio
import itertools
import json

import m3u8
import pytest
import sound
from livestreams import ended, get, listens, on_air, serving, uploads
from players import PLAYERS, Playing, ffmpeg, hls_js

# Times of MP3 are modulo this.
WRAP = 1 << 33


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


def parted(segment):
    """What is before the time in a segment of MP3, the time in ticks of 90 kHz, and the frames."""
    tag = b"com.apple.streaming.transportStreamTimestamp\0"
    start = segment.index(tag) + len(tag)
    return segment[:start], int.from_bytes(segment[start : start + 8]), segment[start + 8 :]


async def test_times_of_mp3_segments_are_continuous(google, daemon, clips):
    files, stream, _ = clips["mp3"]
    livestream = await ended(google, daemon, files)
    _, text = await get(daemon, f"{livestream.id}/live.m3u8")
    at, audio = None, b""
    for segment in m3u8.loads(text.decode()).segments:
        _, body = await get(daemon, f"{livestream.id}/{segment.uri}")
        _, ticks, frames = parted(body)
        # Rounded down.
        assert at is None or (ticks - at) % WRAP in (0, 1), f"{ticks} after {at}"
        audio += frames
        at = ticks + round(segment.duration * 44_100 / 1152) * 1152 * 90_000 // 44_100
    assert audio == stream


async def test_mp3_times_begin_again_unheard(google, daemon, clips, place):
    files, _, expected = clips["mp3"]
    livestream = await ended(google, daemon, files)
    _, text = await get(daemon, f"{livestream.id}/live.m3u8")
    names = [segment.uri for segment in m3u8.loads(text.decode()).segments]
    parts = [parted((await get(daemon, f"{livestream.id}/{name}"))[1]) for name in names]
    # As if 2^33 ticks were over with the third clip.
    files = {
        name: head + ((ticks - parts[2][1]) % WRAP).to_bytes(8) + frames
        for name, (head, ticks, frames) in zip(names, parts)
    }
    async with serving({"live.m3u8": text, **files}) as url:
        browser = Playing(hls_js(f"{url}/live.m3u8"))
        playing = {name: Playing(player(f"{url}/live.m3u8", place / name)) for name, player in PLAYERS.items()}
        for name, player in playing.items():
            said = await player.ends()
            heard = (place / name).read_bytes()
            assert not (wrong := sound.same_sound(heard, expected, 2400)), f"{name}: {wrong}; {said}"
        said = await browser.ends()
    lines = [json.loads(line) for line in said.splitlines()]
    assert [line["heard"] for line in lines if "heard" in line] == [1, 2, 3, 4, 5], said
    assert abs(lines[-1]["seconds"] - len(expected) / 2 / 44_100) < 0.5, said


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
