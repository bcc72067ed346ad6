"""Players that listen through an outage, and the streamer whom they hear."""

import asyncio
import json

import sound
from livestreams import uploads
from players import Playing, ffmpeg, hls_js, vlc


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
