"""What is uploaded is heard: byte for byte, in order, by that livestream's listeners and by nobody else."""

import asyncio

import pytest

from harness.client import sha256
from harness.settings import SETTINGS
from harness.world import SPEECH, clip, number_of

ENVIRONMENT = SETTINGS["bursts"]
"""More than phones send; a lease is also the most time for an ack, and these bursts are published clip by clip."""

NO_CLIP = "Upload must be a single binary clip."
MANY = 200


async def test_real_audio_reaches_every_listener_byte_for_byte(anyhow):
    livestream = await anyhow.on_air(3)
    await livestream.streamer.emit("upload", SPEECH)
    assert await livestream.streamer.next("success") == f"Packet received from user {livestream.user}"
    for listener in livestream.listeners:
        assert sha256(await listener.next("audio")) == sha256(SPEECH)


async def test_uploads_in_a_burst_are_heard_in_order(anyhow):
    livestream = await anyhow.on_air(2)
    for number in range(MANY):
        await livestream.streamer.emit("upload", clip(number))
    for listener in livestream.listeners:
        heard = await listener.take("audio", MANY)
        assert [number_of(data) for data in heard] == list(range(MANY))
        assert all(sha256(data) == sha256(clip(number)) for number, data in enumerate(heard))
    assert set(await livestream.streamer.take("success", MANY)) == {f"Packet received from user {livestream.user}"}


async def test_two_livestreams_never_mix(anyhow):
    livestreams = {0: await anyhow.on_air(2), 1000: await anyhow.on_air(2)}
    for number in range(50):
        for first, livestream in livestreams.items():
            await livestream.streamer.emit("upload", clip(first + number))
    for first, livestream in livestreams.items():
        for listener in livestream.listeners:
            heard = [number_of(data) for data in await listener.take("audio", 50)]
            assert heard == list(range(first, first + 50))
            assert not listener.unread("audio")


async def test_clips_emitted_right_after_connect_are_heard(anyhow):
    livestream = await anyhow.on_air()
    await anyhow.google.trouble("read", "slow", ms=400)
    client = await anyhow.client("streamer", user=livestream.user, livestream=livestream.id)
    for number in range(20):
        await client.emit("upload", clip(number))
    assert [number_of(data) for data in await livestream.listener.take("audio", 20)] == list(range(20))


@pytest.mark.parametrize(
    "shape", [{"file": "x"}, None, "text", 1, [], {"file": b"x"}, (b"x", "more")], ids=repr
)
async def test_upload_of_no_single_clip_is_refused(anyhow, shape):
    livestream = await anyhow.on_air()
    await livestream.streamer.emit("upload", shape)
    assert await livestream.streamer.next("error") == NO_CLIP
    if not isinstance(shape, tuple):
        assert await livestream.streamer.upload(shape) == {"ok": False, "error": NO_CLIP}
    await livestream.streamer.emit("upload", clip(42))
    assert number_of(await livestream.listener.next("audio")) == 42
    assert not livestream.streamer.unread("disconnect")


@pytest.mark.parametrize("shape", [[b"x", b"y"], (b"x", b"y"), {"one": b"x", "two": b"y"}], ids=repr)
async def test_several_clips_at_once_are_relayed_to_nobody(anyhow, shape):
    livestream = await anyhow.on_air()
    await livestream.streamer.emit("upload", shape)
    await livestream.streamer.next("disconnect")
    newest = await anyhow.streamer(livestream)
    assert (await newest.upload(clip(42)))["ok"]
    assert number_of(await livestream.listener.next("audio")) == 42
    assert not livestream.listener.unread("audio") + livestream.listener.unread("disconnect")


async def test_callback_gets_the_sequence_and_the_listeners(anyhow):
    livestream = await anyhow.on_air(2)
    await anyhow.counted(livestream, 2)
    first = await livestream.streamer.upload(clip(1))
    assert first == {"ok": True, "sequence": first["sequence"], "listeners": 2}
    assert await livestream.streamer.upload(clip(2)) == {**first, "sequence": first["sequence"] + 1}


async def test_late_joiner_hears_the_latest_clip_once(anyhow):
    livestream = await anyhow.on_air()
    for number in range(5):
        await livestream.streamer.upload(clip(number))

    async def send():
        for number in range(5, 60):
            await livestream.streamer.upload(clip(number))

    sending = asyncio.create_task(send())
    late = await asyncio.gather(*(anyhow.listener(livestream) for _ in range(4)))
    await sending
    await livestream.streamer.upload(clip(60))
    for listener in late:
        heard = [number_of(await listener.next("audio"))]
        while heard[-1] != 60:
            heard.append(number_of(await listener.next("audio")))
        assert heard == list(range(heard[0], 61)) and heard[0] >= 4
        assert not listener.unread("audio")


async def test_unknown_events_are_ignored(anyhow):
    livestream = await anyhow.on_air()
    for client in (livestream.streamer, livestream.listener):
        for name in ("error", "audio", "success", "state", "message", ""):
            await client.emit(name, {"name": name})
            await client.emit(name, clip(1))
            await client.emit(name)
    await livestream.streamer.upload(clip(5))
    assert number_of(await livestream.listener.next("audio")) == 5
    assert not livestream.listener.unread("audio")
    assert not livestream.streamer.unread("disconnect") + livestream.listener.unread("disconnect")
