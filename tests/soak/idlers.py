"""Connections that nobody uses: the daemon must end each by itself, within `server.connect_timeout` and the like."""

import asyncio
import json

ENDPOINT = "/socket.io/?EIO=4&transport="
UPGRADE = (
    f"GET {ENDPOINT}websocket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)
FIRST = {
    "nothing": b"",
    "half a request": b"GET /socket.io/?EIO=4 HTTP/1.1\r\nHost:",
    "a polling session": f"GET {ENDPOINT}polling HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
    "a WebSocket": f"{UPGRADE}\r\n".encode(),
    "a WebSocket that was refused": f"{UPGRADE}\r\n".encode(),
}
EACH = 5


def _text(data):
    """A WebSocket's text frame, masked with zeros."""
    assert len(data) < 126
    return bytes([0x81, 0x80 | len(data)]) + bytes(4) + data


class Idler:
    """Sends something and then nothing but answers to pings, if it was refused."""

    @classmethod
    async def to(cls, port, kind, refused):
        idler = cls()
        idler.kind = kind
        idler.reader, idler.writer = await asyncio.open_connection("127.0.0.1", port)
        idler.writer.write(FIRST[kind])
        idler.task = asyncio.create_task(idler._read(refused if "refused" in kind else None))
        return idler

    async def _read(self, refused):
        try:
            if refused:
                await self.reader.readuntil(b"\r\n\r\n")
                self.writer.write(_text(refused))
            while data := await self.reader.read(65536):
                if refused and b"\x81\x012" in data:
                    self.writer.write(_text(b"3"))
        except (OSError, asyncio.IncompleteReadError):
            pass

    @property
    def is_open(self):
        return not self.task.done()

    def close(self):
        self.task.cancel()
        self.writer.transport.abort()


async def idlers(world):
    """Some of each kind."""
    port = world.server.port
    refused = b"40/listener," + json.dumps({"idToken": "none", "livestreamId": "none"}).encode()
    return [await Idler.to(port, kind, refused) for kind in FIRST for _ in range(EACH)]


def still_open(some):
    """One line for each kind that the daemon has not ended."""
    kinds = [it.kind for it in some if it.is_open]
    return [f"{kinds.count(kind)} of {EACH} connections with {kind} are open" for kind in FIRST if kind in kinds]
