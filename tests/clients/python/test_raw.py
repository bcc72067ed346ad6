"""Bad input: a clear error or a closed connection, and no harm to anybody else."""

import asyncio
import json

import aiohttp
import pytest
import pytest_asyncio

from harness.raw import ENDPOINT, http, raw
from harness.waiting import until
from harness.world import clip, number_of

ENVIRONMENT = {
    "CASTAWAY_SERVER__HEADER_TIMEOUT": "1s",
    "CASTAWAY_SERVER__CONNECT_TIMEOUT": "2s",
    "CASTAWAY_SERVER__REQUEST_TIMEOUT": "3s",
    "CASTAWAY_LISTENER__STALL_TIMEOUT": "2s",
    "CASTAWAY_SERVER__MAX_REFUSALS": "3",
    "CASTAWAY_SERVER__PING_TIMEOUT": "5s",
    "CASTAWAY_UPLOAD__CLIPS_BURST": "1000",
    "CASTAWAY_LISTENER__QUEUE_CLIPS": "1000",
    "CASTAWAY_UPLOAD__BYTES_BURST": "200000000",
}


@pytest_asyncio.fixture(autouse=True)
async def bystanders(world):
    """A livestream that continues, whatever a test does beside it."""
    livestream = await world.on_air(2)
    yield livestream
    await livestream.streamer.upload(clip(77))
    for listener in livestream.listeners:
        while number_of(await listener.next("audio")) != 77:
            pass
        assert not listener.unread("disconnect")
    assert not livestream.streamer.unread("disconnect")


@pytest.mark.parametrize(
    "request_line",
    [
        b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\n",
        b"GET /socket.io/?EIO=4",
        b"",
        b"POST /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n40",
    ],
    ids=["headers", "line", "nothing", "body"],
)
async def test_half_a_request_is_closed_in_time(world, request_line):
    await http(world.server.port, request_line, half=True)


async def test_dribbled_headers_are_closed_in_time(world):
    reader, writer = await asyncio.open_connection("127.0.0.1", world.server.port)
    writer.write(b"GET / HTTP/1.1\r\n")

    async def drip():
        while True:
            writer.write(b"x: y\r\n")
            await writer.drain()
            await asyncio.sleep(0.2)

    dripping = asyncio.create_task(drip())
    try:
        await asyncio.wait_for(reader.read(), 4)
    except ConnectionError:
        pass
    finally:
        dripping.cancel()
        writer.transport.abort()


@pytest.mark.parametrize(
    "query",
    [
        "EIO=3&transport=polling",
        "EIO=4&transport=carrier-pigeon",
        "EIO=4",
        "transport=polling",
        "EIO=4&transport=polling&sid=unknown",
        "EIO=4&transport=websocket&sid=unknown",
        "EIO=4&transport=websocket",
        "",
    ],
)
async def test_senseless_request_is_answered_with_4xx(world, query):
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{world.server.url}/socket.io/?{query}") as answer:
            assert 400 <= answer.status < 500, await answer.text()


@pytest.mark.parametrize("path", ["/nowhere", "/socket.io/../../etc/passwd", "/socket.io", "/%00"])
async def test_unknown_path_is_answered_with_4xx(world, path):
    answer = await http(world.server.port, f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode(), half=True)
    assert answer.startswith(b"HTTP/1.1 4"), answer


@pytest.mark.parametrize("size", [20_000, 2_000_000])
async def test_headers_too_large_are_refused(world, size):
    request = b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\nConnection: close\r\nid-token: "
    answer = await http(world.server.port, request + b"x" * size + b"\r\n\r\n", half=True)
    assert answer == b"" or answer.startswith((b"HTTP/1.1 4", b"HTTP/1.1 200")), answer[:100]
    if size > 1_000_000:
        assert not answer.startswith(b"HTTP/1.1 200")


async def test_connection_without_a_namespace_is_closed_in_time(world):
    async with raw(world.server.url) as client:
        await client.closed()


BAD_TEXTS = {
    "no packet": "x",
    "empty": "",
    "Engine.IO type": "9",
    "socket type": "49",
    "open": "0{}",
    "noop": "6",
    "pong unasked": "3",
    "no payload": "42/streamer,",
    "no json": "42/streamer,[",
    "no array": '42/streamer,{"a":1}',
    "no name": "42/streamer,[]",
    "number as name": "42/streamer,[1,2]",
    "null as name": "42/streamer,[null]",
    "deep array": "42/streamer," + "[" * 100_000,
    "deep object": '42/streamer,["upload",' + '{"a":' * 50_000 + "1" + "}" * 50_000 + "]",
    "ack unasked": "43/streamer,7[]",
    "ack no id": "43/streamer,[]",
    "binary ack": "461-/streamer,7[]",
    "huge ack id": '42/streamer,99999999999999999999999["upload"]',
    "many attachments": '45100000-/streamer,["upload",{"_placeholder":true,"num":0}]',
    "attachments overflow": '4599999999999999999999-/streamer,["upload",{"_placeholder":true,"num":0}]',
    "negative attachments": '45-1-/streamer,["upload",{"_placeholder":true,"num":0}]',
    "no attachment": '450-/streamer,["upload",{"_placeholder":true,"num":0}]',
    "placeholder beyond": '451-/streamer,["upload",{"_placeholder":true,"num":9}]',
    "connect twice": "40/streamer,",
    "connect no json": "40/streamer,{",
    "connect array": "40/streamer,[1]",
    "unknown namespace": "40/nowhere,",
    "root namespace": "40",
    "long namespace": "40/" + "n" * 100_000 + ",",
    "hostile namespace": "40/../../streamer,",
    "event without joining": '42/listener,["upload"]',
    "disconnect elsewhere": "41/nowhere,",
    "server's error": '44/streamer,{"message":"x"}',
}


@pytest.mark.parametrize("text", BAD_TEXTS.values(), ids=BAD_TEXTS.keys())
@pytest.mark.parametrize("joined", [False, True], ids=["before", "after"])
async def test_senseless_message_ends_its_own_connection_at_most(world, text, joined):
    async with raw(world.server.url) as client:
        if joined:
            livestream = await world.livestream()
            await client.join("streamer", await world.google.token(livestream.user), livestream.id)
        await client.send(text)
        if text.startswith("45"):
            await client.send_bytes(b"attached")
        await client.socket.close()


@pytest.mark.parametrize("data", [b"", b"\0", b"\xff" * 1000, b"4" * 10_000])
async def test_misplaced_binary_ends_its_own_connection_at_most(world, data):
    async with raw(world.server.url) as client:
        await client.send_bytes(data)
        await client.send("40/streamer,")
        await client.send_bytes(data)
        await client.socket.close()


async def test_text_where_an_attachment_belongs_relays_nothing(world):
    livestream = await world.on_air(1)
    async with raw(world.server.url) as client:
        await client.join("streamer", await world.google.token(livestream.user), livestream.id)
        await client.send('451-/streamer,["upload",{"_placeholder":true,"num":0}]')
        await client.send('42/streamer,["upload","text"]')
        await client.socket.close()
    newest = await world.streamer(livestream)
    await newest.upload(clip(3))
    assert number_of(await livestream.listener.next("audio")) == 3


async def test_many_attachments_are_refused_without_waiting_for_them(world):
    livestream = await world.livestream()
    async with raw(world.server.url) as client:
        await client.join("streamer", await world.google.token(livestream.user), livestream.id)
        places = [{"_placeholder": True, "num": number} for number in range(1000)]
        await client.send("451000-/streamer," + json.dumps(["upload", *places]))
        await client.closed()


async def test_unknown_namespace_leads_nowhere(world):
    async with raw(world.server.url) as client:
        await client.send("40/nowhere,")
        answer = await client.next()
        assert answer is None or answer.startswith("44/nowhere,"), answer


async def test_repeated_refusals_close_the_connection(world):
    async with raw(world.server.url) as client:
        for left in (2, 1, 0):
            await client.send("40/streamer,")
            seen = await client.until("41/streamer,")
            assert '42/streamer,["error","Id token not provided."]' in seen
            assert ("41/streamer," in seen) == (left > 0), "the last one closes the transport"


async def test_message_over_the_ceiling_closes_the_transport(world):
    async with raw(world.server.url) as client:
        try:
            await client.send("40/streamer," + "x" * 20_000_000)
        except ConnectionError:
            return
        await client.closed()


async def test_post_over_the_ceiling_is_refused(world):
    async with aiohttp.ClientSession() as session:
        url = world.server.url + ENDPOINT + "polling"
        async with session.get(url) as answer:
            sid = json.loads((await answer.text())[1:])["sid"]
        try:
            async with session.post(f"{url}&sid={sid}", data=b"4" * 20_000_000) as answer:
                assert 400 <= answer.status < 500
        except aiohttp.ClientConnectionError:
            pass


async def test_events_carry_one_argument_and_no_ack(world):
    livestream = await world.livestream()
    async with raw(world.server.url) as streamer, raw(world.server.url) as listener:
        await streamer.join("streamer", await world.google.token(livestream.user), livestream.id)
        await listener.join("listener", await world.google.token("guest"), livestream.id)
        await streamer.send('451-/streamer,["upload",{"_placeholder":true,"num":0}]')
        await streamer.send_bytes(b"a clip")
        seen = await listener.until("451-")
        assert seen[-1] == '451-/listener,["audio",{"_placeholder":true,"num":0}]'
        assert await listener.next() == b"a clip"
        for message in [*seen, *await streamer.until('42/streamer,["success"')]:
            if isinstance(message, str) and message.startswith("42"):
                _, _, body = message.partition(",")
                assert len(json.loads(body)) == 2, message


async def test_stalled_listener_is_closed_and_harms_nobody(world, bystanders):
    guest = await world.google.token("guest")
    reader, writer = await asyncio.open_connection("127.0.0.1", world.server.port, limit=4096)
    head = "\r\n".join(
        [
            f"GET {ENDPOINT}websocket HTTP/1.1",
            "Host: x",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: MTIzNDU2Nzg5MDEyMzQ1Ng==",
            f"id-token: {guest}",
            f"livestream-id: {bystanders.id}",
        ]
    )
    writer.write(head.encode() + b"\r\n\r\n")
    assert b"101" in await reader.readuntil(b"\r\n\r\n")
    payload = b"40/listener,"
    writer.write(bytes([0x81, 0x80 | len(payload), 0, 0, 0, 0]) + payload)
    await reader.readuntil(b'["success"')

    async def listeners(count):
        answer = await bystanders.streamer.upload(clip(1, 200_000))
        return answer["ok"] and answer["listeners"] == count

    await until(lambda: listeners(3), "the stalled listener is one of three")
    await until(lambda: listeners(2), "the stalled listener is closed", 15)
    writer.transport.abort()
