"""A livestream's life: takeover, grace, the end, Google's outages, and the daemon's own end."""

import signal
import time

import pytest

from harness.world import clip, number_of, refused

UNAVAILABLE = "Service is temporarily unavailable, try again."
SERVER = "server disconnect"


def accepted(livestream):
    return f"User {livestream.user} connected as streamer to livestream {livestream.id}."


async def test_ends_at_once_with_its_streamers_own_disconnect(anyhow):
    livestream = await anyhow.on_air(3)
    await anyhow.flag(livestream.id, True)
    await livestream.streamer.leave()
    for listener in livestream.listeners:
        assert await listener.next("disconnect", 1.5) == SERVER
        assert "error" not in listener.names()
    await anyhow.flag(livestream.id, False)
    late = await anyhow.client("listener", livestream=livestream.id)
    await refused(late, f"Livestream {livestream.id} has not started.")


async def test_livestream_continues_when_the_network_is_back(anyhow):
    livestream = await anyhow.livestream()
    wire = await anyhow.wire()
    streamer = await anyhow.streamer(livestream, url=wire.url)
    listener = await anyhow.listener(livestream)
    await streamer.upload(clip(1))
    assert (await streamer.next("success")).startswith("Packet")
    wire.cut(stay=True)
    await streamer.next("disconnect")
    meanwhile = await anyhow.listener(livestream)
    wire.mend()
    assert await streamer.next("success") == accepted(livestream)
    await streamer.upload(clip(2))
    for one in (listener, meanwhile):
        assert [number_of(data) for data in await one.take("audio", 2)] == [1, 2]
        assert not one.unread("disconnect")


async def test_ends_when_its_grace_is_over(anyhow):
    livestream = await anyhow.livestream()
    wire = await anyhow.wire()
    await anyhow.streamer(livestream, url=wire.url)
    listener = await anyhow.listener(livestream)
    await anyhow.flag(livestream.id, True)
    began = time.monotonic()
    wire.cut(stay=True)
    assert await listener.next("disconnect") == SERVER
    assert time.monotonic() - began > 1.9
    await anyhow.flag(livestream.id, False)


async def test_newest_socket_of_the_user_takes_over(anyhow):
    livestream = await anyhow.on_air(1)
    newest = await anyhow.streamer(livestream)
    assert isinstance(await livestream.streamer.next("error"), str)
    await livestream.streamer.emit("upload", clip(66))
    assert await livestream.streamer.next("disconnect") == SERVER
    await newest.upload(clip(2))
    assert number_of(await livestream.listener.next("audio")) == 2
    assert number_of(await (await anyhow.listener(livestream)).next("audio")) == 2
    await anyhow.flag(livestream.id, True)


@pytest.mark.parametrize("role", ["streamer", "listener"])
async def test_client_returns_after_an_outage_of_google(anyhow, role):
    livestream = await anyhow.livestream()
    await anyhow.google.trouble("read", "status", status=503)
    client = await anyhow.client(role, user=livestream.user, livestream=livestream.id)
    assert await client.next("error") == UNAVAILABLE
    assert await client.next("disconnect") != SERVER
    await anyhow.google.heal()
    if role == "streamer":
        assert await client.next("success", 15) == accepted(livestream)
    else:
        assert await client.next("connect") is None


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["stop", "crash"])
async def test_stop_clears_the_flag_and_clients_return(anyhow, tmp_path, how):
    first = await anyhow.another(state=str(tmp_path))
    livestream = await anyhow.livestream()
    near, far = await anyhow.wire(first), await anyhow.wire(first)
    streamer = await anyhow.streamer(livestream, url=near.url)
    listener = await anyhow.listener(livestream, url=far.url)
    await anyhow.flag(livestream.id, True)
    near.open = far.open = False
    code = await first.stop(how)
    assert how is signal.SIGKILL or code == 0
    for client in (streamer, listener):
        assert await client.next("disconnect") != SERVER
    second = await anyhow.another(state=str(tmp_path))
    await anyhow.flag(livestream.id, False)
    for wire, client in ((near, streamer), (far, listener)):
        wire.plug(second.url)
        wire.mend()
        assert await client.next("success")
    await streamer.upload(clip(8))
    assert number_of(await listener.next("audio")) == 8
