"""A way to Redis that takes its time: a proxy that passes everything on, later."""

import asyncio
import time


class Far:
    """Leads from a free port to `port`; each direction takes `seconds`."""

    @classmethod
    async def to(cls, port, seconds):
        far = cls()
        far.target, far.seconds = port, seconds
        far.tasks = set()
        far.server = await asyncio.start_server(far._join, "127.0.0.1", 0)
        far.port = far.server.sockets[0].getsockname()[1]
        return far

    def url(self, redis):
        """The URL of this Redis by the long way."""
        return redis.url.replace(str(self.target), str(self.port))

    async def _join(self, reader, writer):
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        for source, sink in ((reader, far_writer), (far_reader, writer)):
            waiting = asyncio.Queue()
            for work in (self._take(source, waiting), self._give(waiting, sink)):
                task = asyncio.ensure_future(work)
                self.tasks.add(task)
                task.add_done_callback(self.tasks.discard)

    async def _take(self, source, waiting):
        data = b"first"
        while data:
            try:
                data = await source.read(65536)
            except OSError:
                data = b""
            waiting.put_nowait((time.monotonic() + self.seconds, data))

    async def _give(self, waiting, sink):
        data = b"first"
        while data:
            due, data = await waiting.get()
            await asyncio.sleep(max(0, due - time.monotonic()))
            sink.write(data)
        sink.close()

    def close(self):
        self.server.close()
        for task in list(self.tasks):
            task.cancel()
