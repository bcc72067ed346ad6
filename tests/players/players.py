"""Players, each as a command that writes what it hears as samples."""

import asyncio
import os
import subprocess
from pathlib import Path

FORMAT = "audio/x-raw,format=S16LE,channels=1,rate=44100"


def ffmpeg(url, file, *options):
    return ["ffmpeg", "-v", "error", *options, "-i", url, "-f", "s16le", "-ac", "1", "-ar", "44100", "-y", file]


def mpv(url, file):
    return [
        *["mpv", "--no-config", "--no-video", "--really-quiet", "--untimed", "--demuxer-lavf-o=live_start_index=0"],
        *["--ao=pcm", f"--ao-pcm-file={file}", "--ao-pcm-waveheader=no", "--audio-format=s16"],
        *["--audio-samplerate=44100", "--audio-channels=mono", url],
    ]


def vlc(url, file):
    output = "#transcode{acodec=s16l,channels=1,samplerate=44100}:std{access=file,mux=raw,dst=" + str(file) + "}"
    return ["cvlc", "-I", "dummy", "--no-video", "--sout", output, url, "vlc://quit"]


def gstreamer(url, file):
    return [
        *["gst-launch-1.0", "-q", "souphttpsrc", f"location={url}", "!", "decodebin", "!", "audioconvert"],
        *["!", FORMAT, "!", "filesink", f"location={file}"],
    ]


def hls_js(url):
    """Chromium; it prints what it hears."""
    return ["node", Path(__file__).parent / "hls.js", url]


def offered(page):
    """Chromium on a listening page; it prints the addresses for other players."""
    return ["node", Path(__file__).parent / "offered.js", page]


PLAYERS = {"ffmpeg": ffmpeg, "mpv": mpv, "VLC": vlc, "GStreamer": gstreamer}


class Playing:
    """A player at work."""

    def __init__(self, command):
        # VLC refuses to run as root.
        is_refused = command[0] == "cvlc" and os.geteuid() == 0
        self.process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "HOME": "/nonexistent"},
            user="nobody" if is_refused else None,
        )

    async def ends(self, seconds=25):
        """Waits for its end, and gives what it printed."""
        printed, _ = await asyncio.to_thread(self.process.communicate, timeout=seconds)
        return printed.decode(errors="replace")

    def stop(self):
        """Ends it, with all that it has heard written."""
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait()
        self.process.stdout.close()
