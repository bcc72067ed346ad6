"""A listener with the feature `clips`, and a streamer whose clips have ids, with python-socketio."""

from harness.client import sha256
from harness.world import SPEECH, clip, number_of

CLIPS = {"features": ["clips"]}


def at(last):
    return {**CLIPS, "resume": {"epoch": last["epoch"], "sequence": last["sequence"]}}


async def upload(streamer, number, clip_id):
    """Uploads with a second argument, which the library takes as a tuple."""
    return await streamer.upload((clip(number), {"id": clip_id}))


async def test_clip_says_its_place(anyhow):
    livestream = await anyhow.on_air()
    listener = await anyhow.listener(livestream, auth=CLIPS)
    answer = await livestream.streamer.upload((SPEECH, {"id": "the first", "capturedAt": 1}))
    heard = await listener.next("clip")
    assert sha256(heard["bytes"]) == sha256(SPEECH)
    assert (heard["sequence"], heard["id"]) == (answer["sequence"], "the first")
    assert heard["durationMs"] > 500 and heard["sentAt"] > 1_700_000_000_000
    assert sha256(await livestream.listener.next("audio")) == sha256(SPEECH)
    assert livestream.listener.names() == ["connect", "success", "audio"]


async def test_clip_sent_again_is_heard_once(anyhow):
    livestream = await anyhow.on_air()
    first = await upload(livestream.streamer, 1, "a")
    assert first["ok"]
    again = {"ok": True, "sequence": first["sequence"], "duplicate": True}
    assert await upload(livestream.streamer, 1, "a") == again
    newest = await anyhow.streamer(livestream)
    assert await upload(newest, 1, "a") == again
    assert (await upload(newest, 2, "b"))["sequence"] == first["sequence"] + 1
    assert [number_of(data) for data in await livestream.listener.take("audio", 2)] == [1, 2]
    assert not (await newest.upload((clip(3), {"id": ""})))["ok"]


async def test_listener_that_comes_back_misses_nothing(anyhow):
    livestream = await anyhow.on_air(0)
    await livestream.streamer.upload(clip(1))
    listener = await anyhow.listener(livestream, auth=CLIPS)
    last = await listener.next("clip")
    for first in (2, 6):
        await listener.socket.shutdown()
        for number in range(first, first + 3):
            await livestream.streamer.upload(clip(number))
        listener = await anyhow.listener(livestream, auth=at(last))
        resumed = await listener.next("resumed")
        await livestream.streamer.upload(clip(first + 3))
        heard = await listener.take("clip", 4)
        assert [number_of(it["bytes"]) for it in heard] == list(range(first, first + 4))
        assert resumed == {"recovered": True, "from": heard[0]["sequence"], "to": heard[2]["sequence"]}
        last = heard[-1]


async def test_listener_at_an_unknown_place_gets_the_latest(anyhow):
    livestream = await anyhow.on_air(0)
    for number in (1, 2):
        await livestream.streamer.upload(clip(number))
    for resume in ({"epoch": 1, "sequence": 1}, {"epoch": "1"}, 7):
        listener = await anyhow.listener(livestream, auth={**CLIPS, "resume": resume})
        assert await listener.next("resumed") == {"recovered": False, "missed": None}
        assert number_of((await listener.next("clip"))["bytes"]) == 2
