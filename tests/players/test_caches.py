"""A cache in front: nginx, as docs/clustering.md sets it up. Many listeners are few requests here."""

import asyncio
import contextlib
import signal

import aiohttp
import m3u8
import pytest
import pytest_asyncio
from livestreams import ENVIRONMENT, free_port, on_air, uploads
from players import Playing

from harness.server import Server
from harness.waiting import until

LISTENERS = 100
NGINX = """
daemon off;
pid {place}/nginx.pid;
error_log {place}/error.log;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {place}/body;
    proxy_temp_path {place}/proxy;
    fastcgi_temp_path {place}/fastcgi;
    uwsgi_temp_path {place}/uwsgi;
    scgi_temp_path {place}/scgi;
    proxy_cache_path {place}/cache keys_zone=players:1m max_size=1g use_temp_path=off;
    server {{
        listen 127.0.0.1:{port};
        location /livestreams/ {{
            proxy_pass {origin};
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_cache players;
            proxy_cache_lock on;
            proxy_cache_lock_timeout 15s;
            proxy_cache_lock_age 15s;
            proxy_cache_revalidate on;
            add_header X-Cache $upstream_cache_status always;
        }}
    }}
}}
"""


@pytest_asyncio.fixture(scope="module")
async def public(google):
    server = await Server.start(google, ENVIRONMENT)
    yield server
    await server.stop(signal.SIGKILL)


@contextlib.asynccontextmanager
async def cached(server, place):
    """The address of an nginx in front of a daemon."""
    port = free_port()
    file = place / "nginx.conf"
    file.write_text(NGINX.format(place=place, port=port, origin=server.url))
    nginx = Playing(["nginx", "-p", place, "-e", place / "error.log", "-c", file])
    try:

        async def is_up():
            with contextlib.suppress(OSError):
                (await asyncio.open_connection("127.0.0.1", port))[1].close()
                return True

        await until(is_up, "nginx is up")
        yield f"http://127.0.0.1:{port}"
    finally:
        nginx.stop()


async def ask(session, url, method="GET", **headers):
    async with session.request(method, url, headers=headers) as answer:
        return answer.status, answer.headers, await answer.read()


async def asked(server, kind):
    return await server.metric("castaway_player_requests_total", f'"{kind}"')


async def test_crowd_behind_a_cache_asks_once(google, public, clips, place):
    livestream = await on_air(google, public)
    await uploads(livestream.streamer, clips["m4a"][0][:3])
    async with (
        cached(public, place) as front,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
    ):
        folder = f"{front}/livestreams/{livestream.id}"

        async def listener():
            """Both playlists, every file, and the next clip as soon as it is there."""
            heard = b""
            for file in ("index.m3u8", "live.m3u8", "live.m3u8?_HLS_msn=4"):
                status, _, text = await ask(session, f"{folder}/{file}")
                assert status == 200, f"{file}: {status} {text}"
            playlist = m3u8.loads(text.decode())
            for uri in [playlist.segment_map[0].uri, *[segment.uri for segment in playlist.segments]]:
                status, _, body = await ask(session, f"{folder}/{uri}")
                assert status == 200
                heard += body
            return len(playlist.segments), heard

        before = [await asked(public, kind) for kind in ("playlist", "segment")]
        crowd = asyncio.gather(*[listener() for _ in range(LISTENERS)])

        async def waits():
            return await public.metric("castaway_player_requests_waiting") == 1

        await until(waits, "one request waits for all", 20)
        await uploads(livestream.streamer, clips["m4a"][0][3:4])
        heard = await crowd
        assert len(set(heard)) == 1 and heard[0][0] == 4, "all hear the same"
        playlists, segments = [
            await asked(public, kind) - count for kind, count in zip(("playlist", "segment"), before)
        ]
        # A playlist lives for a second, in which a slow machine may not have served everybody.
        assert segments == 5 and 3 <= playlists <= 20, f"{playlists} playlists and {segments} segments were asked for"
        assert await public.metric("castaway_player_listeners") <= 2
    await livestream.streamer.leave()


async def test_cache_keeps_what_it_may(google, public, clips, place):
    livestream = await on_air(google, public)
    await uploads(livestream.streamer, clips["mp3"][0])
    origin = {"Origin": "https://other.example"}
    async with cached(public, place) as front, aiohttp.ClientSession() as session:
        folder = f"{front}/livestreams/{livestream.id}"
        _, headers, text = await ask(session, f"{folder}/live.m3u8", **origin)
        assert headers["cache-control"] == "public, max-age=1"
        segment = f"{folder}/{m3u8.loads(text.decode()).segments[0].uri}"
        _, headers, whole = await ask(session, segment, **origin)
        assert headers["cache-control"] == "public, max-age=31536000, immutable"
        tag = headers["etag"]
        for method, more, expected, body in [
            ("GET", {}, 200, whole),
            ("HEAD", {}, 200, b""),
            ("GET", {"Range": "bytes=5-9"}, 206, whole[5:10]),
            ("GET", {"If-None-Match": tag}, 304, b""),
        ]:
            status, headers, got = await ask(session, segment, method, **origin, **more)
            assert (status, got) == (expected, body), f"{method} {more}"
            assert headers["x-cache"] == "HIT" and headers["etag"] == tag
            assert headers["access-control-allow-origin"] == "*"
        # An endless stream passes through, and is not kept.
        async with session.get(f"{folder}/live") as stream:
            assert stream.headers["x-cache"] == "MISS" and stream.headers["cache-control"] == "no-store"
            assert await stream.content.readexactly(1_000)
        status, headers, _ = await ask(session, f"{folder}/1-1.mp3")
        assert status == 404 and headers["x-cache"] == "MISS"
        status, headers, _ = await ask(session, f"{folder}/1-1.mp3")
        assert headers["x-cache"] == "MISS", "a refusal is not kept"
    await livestream.streamer.leave()


@pytest.mark.parametrize("access", ["pass", "token"])
async def test_cache_keeps_nothing_of_private_livestreams(google, clips, place, access):
    environment = {"CASTAWAY_PLAYERS__ACCESS": access, "CASTAWAY_LISTENER__PASSES": "streamers"}
    server = await Server.start(google, {**ENVIRONMENT, **environment})
    try:
        livestream = await on_air(google, server)
        await uploads(livestream.streamer, clips["m4a"][0])
        right = {"Authorization": f"Bearer {await google.token('bob')}"}
        async with cached(server, place) as front, aiohttp.ClientSession() as session:
            folder = f"{front}/livestreams/{livestream.id}"
            _, _, text = await ask(session, f"{folder}/live.m3u8", **right)
            for file in ["index.m3u8", "live.m3u8", m3u8.loads(text.decode()).segments[0].uri]:
                for _ in range(2):
                    status, headers, _ = await ask(session, f"{folder}/{file}", **right)
                    assert (status, headers["x-cache"]) == (200, "MISS"), file
                    assert headers["cache-control"].startswith("private, ")
                assert (await ask(session, f"{folder}/{file}"))[0] == 401, f"{file} without a right"
    finally:
        await server.stop(signal.SIGKILL)
