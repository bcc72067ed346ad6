"""A TCP wire between a client and the server that a test can cut, freeze, or plug into another server."""

import asyncio
from urllib.parse import urlsplit


class Wire:
    """Leads from a free port to a server."""

    @classmethod
    async def to(cls, target):
        wire = cls()
        wire.pairs = set()
        wire.open = True
        wire.frozen = False
        wire.plug(target)
        wire.server = await asyncio.start_server(wire._join, "127.0.0.1", 0)
        wire.url = f"http://127.0.0.1:{wire.server.sockets[0].getsockname()[1]}"
        return wire

    def plug(self, target):
        self.port = urlsplit(target).port

    async def _join(self, reader, writer):
        if not self.open:
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            writer.transport.abort()
            return
        pair = (writer, far_writer)
        self.pairs.add(pair)
        passing = [self._pass(reader, far_writer), self._pass(far_reader, writer)]
        done = [asyncio.ensure_future(one) for one in passing]
        await asyncio.wait(done, return_when=asyncio.FIRST_COMPLETED)
        for side in pair:
            side.transport.abort()
        await asyncio.wait(done)
        self.pairs.discard(pair)

    async def _pass(self, source, sink):
        try:
            while data := await source.read(65536):
                if self.frozen:
                    await asyncio.get_running_loop().create_future()
                sink.write(data)
                await sink.drain()
        except OSError:
            pass

    def cut(self, stay=False):
        """Every connection dies; with `stay`, new ones are refused until `mend`."""
        self.open = not stay
        for pair in list(self.pairs):
            for side in pair:
                side.transport.abort()

    def mend(self):
        self.open = True

    def freeze(self):
        """Nothing passes from now on, and neither end notices: a phone in a tunnel."""
        self.open = False
        self.frozen = True

    def close(self):
        self.cut(stay=True)
        self.server.close()
