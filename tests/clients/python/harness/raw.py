"""Engine.IO by hand, for what no real client would send."""

import asyncio
import json
from contextlib import asynccontextmanager, suppress

import aiohttp

SECONDS = 8
ENDPOINT = "/socket.io/?EIO=4&transport="


class Raw:
    """A WebSocket that speaks only when a test says so, and answers pings."""

    def __init__(self, socket):
        self.socket = socket

    async def send(self, text):
        await self.socket.send_str(text)

    async def send_bytes(self, data):
        await self.socket.send_bytes(data)

    async def next(self):
        """The next text or binary message, None when the server has closed."""
        while True:
            message = await asyncio.wait_for(self.socket.receive(), SECONDS)
            if message.type == aiohttp.WSMsgType.TEXT and message.data == "2":
                with suppress(ConnectionError):
                    await self.socket.send_str("3")
            elif message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                return message.data
            else:
                return None

    def abort(self):
        """The connection dies without a word."""
        self.socket._response.connection.transport.abort()

    async def until(self, wanted):
        """Everything up to a message that begins with `wanted`, or to the end."""
        seen = []
        while (message := await self.next()) is not None:
            seen.append(message)
            if isinstance(message, str) and message.startswith(wanted):
                break
        return seen

    async def closed(self):
        """Waits until the server has closed."""
        while await self.next() is not None:
            pass

    async def connect(self, role, token, livestream):
        """Asks for a namespace, by the CONNECT payload."""
        auth = json.dumps({"idToken": token, "livestreamId": livestream})
        await self.send(f"40/{role},{auth}")

    async def join(self, role, token, livestream):
        """Joins a namespace and waits for its `success`."""
        await self.connect(role, token, livestream)
        seen = await self.until(f'42/{role},["success"')
        assert seen and str(seen[-1]).startswith(f'42/{role},["success"'), seen


@asynccontextmanager
async def raw(url, headers=None):
    """An open WebSocket whose Engine.IO handshake is done."""
    async with aiohttp.ClientSession() as session:
        async with session.ws_connect(url + ENDPOINT + "websocket", headers=headers, max_msg_size=0) as socket:
            it = Raw(socket)
            assert (await it.next()).startswith("0{")
            yield it


async def http(port, request, half=False):
    """What the server answers to these bytes until it closes; `half` stays open without sending more."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        await writer.drain()
        if not half:
            writer.write_eof()
        return await asyncio.wait_for(reader.read(), SECONDS)
    except ConnectionError:
        return b""
    finally:
        writer.transport.abort()
