"""The title of the livestream's document, within the stream (ICY)."""

import asyncio
import re

import sound
from livestreams import on_air, uploads
from players import Playing

TITLE = "a livestream"


def parted(sent, interval):
    """Audio and texts, as a player of Icecast parts them."""
    audio, texts, at = b"", [], 0
    while len(sent) - at > interval:
        audio += sent[at : at + interval]
        at += interval
        length = sent[at] * 16
        texts.append(sent[at + 1 : at + 1 + length].rstrip(b"\0").decode())
        at += 1 + length
    return audio + sent[at:], texts


async def test_title_of_the_document_is_in_the_stream(google, daemon, clips, place):
    files, stream, _ = clips["mp3"]
    livestream = await on_air(google, daemon)
    await uploads(livestream.streamer, files)
    url = f"{daemon.url}/livestreams/{livestream.id}/live"
    options = ["--silent", "--fail", "--dump-header", place / "headers", "--header", "Icy-MetaData: 1"]
    curl = Playing(["curl", *options, "--output", place / "sent", url])
    # ffmpeg's own parser.
    probe = ["ffprobe", "-v", "error", "-icy", "1", "-show_entries", "format_tags", "-of", "default=nw=1", url]
    shown = (await asyncio.to_thread(sound.run, *probe)).decode()
    assert f"TAG:StreamTitle={TITLE}\n" in shown and f"TAG:icy-name={TITLE}\n" in shown, shown
    await livestream.streamer.leave()
    assert await curl.ends() == ""
    interval = int(re.search(r"icy-metaint: (\d+)", (place / "headers").read_text()).group(1))
    audio, texts = parted((place / "sent").read_bytes(), interval)
    assert audio == stream
    assert texts[0] == f"StreamTitle='{TITLE}';" and not any(texts[1:]), texts
