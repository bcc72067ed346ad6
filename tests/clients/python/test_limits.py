"""Limits: how fast, how large."""

import asyncio
import re

from harness.world import clip, number_of

ENVIRONMENT = {
    "CASTAWAY_UPLOAD__CLIPS_PER_MINUTE": "30",
    "CASTAWAY_UPLOAD__CLIPS_BURST": "3",
    "CASTAWAY_UPLOAD__MAX_CLIP_BYTES": "1048576",
}
RATE = r"Upload rate limit exceeded, retry in (\d+) ms\."


async def test_retry_after_the_named_time_is_heard(anyhow):
    livestream = await anyhow.on_air()
    # Not one after the other: a busy machine must not earn credit meanwhile.
    *taken, answer = await asyncio.gather(*(livestream.streamer.upload(clip(number)) for number in (1, 2, 3, 4)))
    assert all(each["ok"] for each in taken)
    wait = int(re.fullmatch(RATE, answer["error"])[1])
    assert answer == {"ok": False, "error": answer["error"], "retryAfterMs": wait}
    assert re.fullmatch(RATE, await livestream.streamer.next("error"))
    await asyncio.sleep((wait + 10) / 1000)
    assert (await livestream.streamer.upload(clip(5)))["ok"]
    assert [number_of(data) for data in await livestream.listener.take("audio", 4)] == [1, 2, 3, 5]


async def test_clip_over_the_size_limit_is_refused(anyhow):
    livestream = await anyhow.on_air()
    answer = await livestream.streamer.upload(clip(1, 1_048_577))
    assert not answer["ok"] and re.search("1048576|1 MiB", answer["error"])
    assert await livestream.streamer.next("error") == answer["error"]
    assert (await livestream.streamer.upload(clip(2, 1_048_576)))["ok"]
    assert number_of(await livestream.listener.next("audio")) == 2
    assert not livestream.streamer.unread("disconnect")


async def test_clip_over_the_ceiling_closes_the_transport(anyhow):
    livestream = await anyhow.on_air()
    await livestream.streamer.emit("upload", clip(1, 5_000_000))
    assert await livestream.streamer.next("disconnect", 15) != "server disconnect"
    assert await livestream.streamer.next("success", 15)
    await livestream.streamer.upload(clip(2))
    assert number_of(await livestream.listener.next("audio")) == 2
    assert not livestream.listener.unread("disconnect")
