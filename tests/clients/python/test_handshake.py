"""Who is let in, who is refused, and in which words."""

import pytest

from harness.world import refused

pytestmark = pytest.mark.parametrize("role", ["streamer", "listener"])


async def test_client_without_a_token_is_refused_first(anyhow, role):
    livestream = await anyhow.livestream()
    await refused(await anyhow.client(role, token=None, livestream=livestream.id), "Id token not provided.")
    await refused(await anyhow.client(role, token=None), "Id token not provided.")


async def test_client_without_a_livestream_is_refused_unverified(anyhow, role):
    await refused(await anyhow.client(role), "Livestream id not provided.")
    await refused(await anyhow.client(role, token="no token"), "Livestream id not provided.")


@pytest.mark.parametrize("kind", ["garbage", "foreign", "forged"])
async def test_invalid_token_is_refused_without_a_livestream_lookup(anyhow, role, kind):
    token = "a.b.c" if kind == "garbage" else await anyhow.google.token("somebody", kind)
    client = await anyhow.client(role, token=token, livestream=anyhow.name("missing"))
    await refused(client, "Id token is invalid.")


async def test_expired_token_is_told_so(anyhow, role):
    livestream = await anyhow.livestream()
    token = await anyhow.google.token(livestream.user, "expired")
    await refused(await anyhow.client(role, token=token, livestream=livestream.id), "Id token has expired.")


async def test_missing_livestream_is_refused_and_never_made(anyhow, role):
    missing = anyhow.name("missing")
    texts = {
        "streamer": "User is not authorized to livestream in this room.",
        "listener": f"Livestream {missing} does not exist.",
    }
    await refused(await anyhow.client(role, livestream=missing), texts[role])
    assert await anyhow.google.document(missing) is None


async def test_stranger_is_refused_before_the_livestream(anyhow, role):
    livestream = await anyhow.livestream()
    texts = {
        "streamer": "User is not authorized to livestream in this room.",
        "listener": f"Livestream {livestream.id} has not started.",
    }
    await refused(await anyhow.client(role, livestream=livestream.id), texts[role])
    assert (await anyhow.google.document(livestream.id))["streamerConnected"] is False


async def test_streamer_is_admitted_and_the_flag_set(anyhow, role):
    livestream = await anyhow.livestream()
    before = await anyhow.google.document(livestream.id)
    await anyhow.streamer(livestream)
    if role == "listener":
        await anyhow.listener(livestream)
    await anyhow.flag(livestream.id, True)
    assert await anyhow.google.document(livestream.id) == {**before, "streamerConnected": True}


async def test_credentials_may_come_in_the_connect_payload(anyhow, role):
    livestream = await anyhow.on_air(0)
    user = livestream.user if role == "streamer" else anyhow.name("guest")
    auth = {"idToken": await anyhow.google.token(user), "livestreamId": livestream.id}
    client = await anyhow.client(role, token=None, auth=auth)
    assert await client.next("success") == f"User {user} connected as {role} to livestream {livestream.id}."


async def test_headers_win_over_the_connect_payload(anyhow, role):
    livestream = await anyhow.on_air(0)
    auth = {"idToken": "no token", "livestreamId": "missing"}
    await (anyhow.streamer if role == "streamer" else anyhow.listener)(livestream, auth=auth)


@pytest.mark.parametrize("hostile", ["..", "a/b", "../x", "__x__", "a\0b", "a\nb", "x" * 2000])
async def test_id_of_no_document_costs_no_call(world, role, hostile):
    before = (await world.google.calls())["read"]
    auth = {"idToken": await world.google.token("guest"), "livestreamId": hostile}
    client = await world.client(role, token=None, auth=auth)
    text = await client.next("error")
    if role == "streamer":
        assert text == "User is not authorized to livestream in this room."
    else:
        assert text.startswith("Livestream ") and text.endswith(" does not exist.")
    await client.next("disconnect")
    assert (await world.google.calls())["read"] == before
