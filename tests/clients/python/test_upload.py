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
    show = await anyhow.show(3)
    await show.streamer.emit("upload", SPEECH)
    assert await show.streamer.next("success") == f"Packet received from user {show.user}"
    for listener in show.listeners:
        assert sha256(await listener.next("audio")) == sha256(SPEECH)


async def test_uploads_in_a_burst_are_heard_in_order(anyhow):
    show = await anyhow.show(2)
    for number in range(MANY):
        await show.streamer.emit("upload", clip(number))
    for listener in show.listeners:
        heard = await listener.take("audio", MANY)
        assert [number_of(data) for data in heard] == list(range(MANY))
        assert all(sha256(data) == sha256(clip(number)) for number, data in enumerate(heard))
    assert set(await show.streamer.take("success", MANY)) == {f"Packet received from user {show.user}"}


async def test_two_livestreams_never_mix(anyhow):
    shows = {0: await anyhow.show(2), 1000: await anyhow.show(2)}
    for number in range(50):
        for first, show in shows.items():
            await show.streamer.emit("upload", clip(first + number))
    for first, show in shows.items():
        for listener in show.listeners:
            heard = [number_of(data) for data in await listener.take("audio", 50)]
            assert heard == list(range(first, first + 50))
            assert not listener.unread("audio")


async def test_clips_emitted_right_after_connect_are_heard(anyhow):
    show = await anyhow.show()
    await anyhow.google.trouble("read", "slow", ms=400)
    client = await anyhow.client("streamer", user=show.user, livestream=show.id)
    for number in range(20):
        await client.emit("upload", clip(number))
    assert [number_of(data) for data in await show.listener.take("audio", 20)] == list(range(20))


@pytest.mark.parametrize(
    "shape", [{"file": "x"}, None, "text", 1, [], {"file": b"x"}, (b"x", "more")], ids=repr
)
async def test_upload_of_no_single_clip_is_refused(anyhow, shape):
    show = await anyhow.show()
    await show.streamer.emit("upload", shape)
    assert await show.streamer.next("error") == NO_CLIP
    if not isinstance(shape, tuple):
        assert await show.streamer.upload(shape) == {"ok": False, "error": NO_CLIP}
    await show.streamer.emit("upload", clip(42))
    assert number_of(await show.listener.next("audio")) == 42
    assert not show.streamer.unread("disconnect")


@pytest.mark.parametrize("shape", [[b"x", b"y"], (b"x", b"y"), {"one": b"x", "two": b"y"}], ids=repr)
async def test_several_clips_at_once_are_relayed_to_nobody(anyhow, shape):
    show = await anyhow.show()
    await show.streamer.emit("upload", shape)
    await show.streamer.next("disconnect")
    newest = await anyhow.streamer(show)
    assert (await newest.upload(clip(42)))["ok"]
    assert number_of(await show.listener.next("audio")) == 42
    assert not show.listener.unread("audio") + show.listener.unread("disconnect")


async def test_callback_gets_the_sequence_and_the_listeners(anyhow):
    show = await anyhow.show(2)
    await anyhow.counted(show, 2)
    first = await show.streamer.upload(clip(1))
    assert first == {"ok": True, "sequence": first["sequence"], "listeners": 2}
    assert await show.streamer.upload(clip(2)) == {**first, "sequence": first["sequence"] + 1}


async def test_late_joiner_hears_the_latest_clip_once(anyhow):
    show = await anyhow.show()
    for number in range(5):
        await show.streamer.upload(clip(number))

    async def send():
        for number in range(5, 60):
            await show.streamer.upload(clip(number))

    sending = asyncio.create_task(send())
    late = await asyncio.gather(*(anyhow.listener(show) for _ in range(4)))
    await sending
    await show.streamer.upload(clip(60))
    for listener in late:
        heard = [number_of(await listener.next("audio"))]
        while heard[-1] != 60:
            heard.append(number_of(await listener.next("audio")))
        assert heard == list(range(heard[0], 61)) and heard[0] >= 4
        assert not listener.unread("audio")


async def test_unknown_events_are_ignored(anyhow):
    show = await anyhow.show()
    for client in (show.streamer, show.listener):
        for name in ("error", "audio", "success", "state", "message", ""):
            await client.emit(name, {"name": name})
            await client.emit(name, clip(1))
            await client.emit(name)
    await show.streamer.upload(clip(5))
    assert number_of(await show.listener.next("audio")) == 5
    assert not show.listener.unread("audio")
    assert not show.streamer.unread("disconnect") + show.listener.unread("disconnect")
