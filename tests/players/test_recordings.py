"""Recordings as players get them: one sound file with every sample of the acknowledged clips, whatever happened."""

import hashlib
import json
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
import sound
from livestreams import ENVIRONMENT, loses_its_network, on_air, streamer, uploads

from harness.server import Server
from harness.waiting import until

EXTENSIONS = {"m4a": "m4a", "aac": "m4a", "mp3": "mp3"}


async def recorded(bucket):
    """The manifest and the directory of the only recording, once it is finished."""
    found = SimpleNamespace()

    async def is_there():
        manifests = list(Path(bucket).glob("*/*/manifest.json"))
        assert len(manifests) < 2, manifests
        if manifests:
            found.directory = manifests[0].parent
            found.manifest = json.loads(manifests[0].read_text())
        return bool(manifests)

    await until(is_there, "the recording is finished", 20)
    return found


@pytest.mark.parametrize("kind", EXTENSIONS)
async def test_recording_has_every_acknowledged_sample(google, clips, tmp_path, kind):
    files, _, expected = clips[kind]
    bucket, state = tmp_path / "bucket", tmp_path / "state"
    state.mkdir()
    environment = {**ENVIRONMENT, "CASTAWAY_RECORDING__URL": f"file://{bucket}"}
    daemon = await Server.start(google, environment, state)
    livestream = await on_air(google, daemon)
    await uploads(livestream.streamer, files[:2])
    await loses_its_network(daemon, livestream)
    livestream.streamer = await streamer(google, daemon, livestream)
    await uploads(livestream.streamer, files[2:3])
    # Once a clip is acknowledged, nothing but the disk may lose it.
    await daemon.stop(signal.SIGKILL)
    daemon = await Server.start(google, environment, state)
    try:
        livestream.streamer = await streamer(google, daemon, livestream)
        await uploads(livestream.streamer, files[3:])
        await livestream.streamer.leave()
        found = await recorded(bucket)
    finally:
        await daemon.stop()
    manifest = found.manifest
    assert (len(manifest["clips"]), manifest["missing"], manifest["left_out"]) == (len(files), [], [])
    assert [clip["sha256"] for clip in manifest["clips"]] == [hashlib.sha256(file).hexdigest() for file in files]
    (file,) = manifest["files"]
    path = found.directory / file["name"]
    assert path.name == f"recording.{EXTENSIONS[kind]}"
    assert hashlib.sha256(path.read_bytes()).hexdigest() == file["sha256"]
    # Every sample of every clip, but for the first one's delay and the last one's padding, which the file names.
    heard = sound.run("ffmpeg", "-v", "error", "-i", path, *sound.RAW, "pipe:1")
    assert heard in expected, "the sound differs"
    assert len(expected) - len(heard) <= 2 * 2 * 2 * 1152, (len(expected), len(heard))
    probed = sound.run("ffprobe", "-v", "warning", "-of", "json", "-show_format", "-show_streams", path)
    probed = json.loads(probed)
    assert [stream["codec_name"] for stream in probed["streams"]] == [file["codec"]]
    assert abs(float(probed["format"]["duration"]) - file["seconds"]) < 0.06, probed
    if kind != "mp3":
        head = path.read_bytes()[: 1 << 20]
        assert head.index(b"moov") < head.index(b"mdat"), "a player would have to fetch all of it first"
