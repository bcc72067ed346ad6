"""The bucket of recordings that the nodes share: a directory, or S3 as Moto imitates it behind a server of the rig's own,
which can be away, and does what a test wants before or after a request is answered. Each can be looked at past all that."""

import asyncio
import ctypes
import os
import tempfile
from pathlib import Path
from xml.etree import ElementTree

import aiohttp
from aiohttp import web
from yarl import URL

from harness.children import Child
from harness.programs import program

from .redis import free_port

EXCHANGE, HERE = 2, -100
"""Of renameat2."""


class Directory:
    """`file:///`: all nodes have the same file system. Away, there is a file where it was."""

    kind = "directory"

    async def start(self):
        self.parent = tempfile.TemporaryDirectory(prefix="castaway-bucket-")
        self.path, self.other = (Path(self.parent.name) / name for name in ("bucket", "other"))
        self.path.mkdir()
        self.other.touch()
        self.environment = {"CASTAWAY_RECORDING__URL": f"file://{self.path}"}

    def _exchange(self):
        """At once: a daemon makes directories where there are none."""
        one, other = (os.fsencode(path) for path in (self.path, self.other))
        if ctypes.CDLL(None, use_errno=True).renameat2(HERE, one, HERE, other, EXCHANGE):
            raise OSError(ctypes.get_errno(), "renameat2")

    async def goes_away(self):
        self._exchange()

    async def comes_back(self):
        if self.path.is_file():
            self._exchange()

    async def objects(self):
        """All of them, by their names."""
        files = {file: file.relative_to(self.path) for file in self.path.rglob("*") if file.is_file()}
        # What a write has not finished has a name that no object has.
        return {str(name): file.read_bytes() for file, name in files.items() if "#" not in name.name}

    async def put(self, name, body):
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(body)

    async def delete(self, name):
        (self.path / name).unlink()

    async def joining(self):
        """Waits until a node writes a recording's file: it is there under another name before it is whole."""
        while not list(self.path.glob("*/*/recording.*#*")):
            await asyncio.sleep(0)

    async def goes_on(self):
        """What was held is answered."""

    async def stop(self):
        self.parent.cleanup()


class Amazon:
    """`s3://`. Away, nothing listens on its port."""

    kind = "s3"
    name = "recordings"

    async def start(self):
        self.moto, self.runner = free_port(), None
        self.child = await Child.start(program("CASTAWAY_MOTO"), "-H", "127.0.0.1", "-p", str(self.moto))
        await self.child.says("Running on", 60)
        self.session = aiohttp.ClientSession(auto_decompress=False)
        self.before = self.after = None
        """Awaited with the method and the path of each request of a node, before it is done and before it is answered."""
        await self.put("", b"")
        self.port = free_port()
        await self.comes_back()
        self.environment = {
            "CASTAWAY_RECORDING__URL": f"s3://{self.name}/a/prefix",
            "CASTAWAY_RECORDING__ENDPOINT": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
        }

    async def goes_away(self):
        runner, self.runner = self.runner, None
        await runner.cleanup()

    async def comes_back(self):
        if self.runner is None:
            app = web.Application(client_max_size=1 << 30)
            app.router.add_route("*", "/{path:.*}", self._forward)
            self.runner = web.AppRunner(app, shutdown_timeout=0)
            await self.runner.setup()
            await web.TCPSite(self.runner, "127.0.0.1", self.port).start()

    async def _forward(self, request):
        body = await request.read()
        if self.before:
            await self.before(request.method, request.raw_path)
        url = URL(f"http://127.0.0.1:{self.moto}{request.raw_path}", encoded=True)
        headers = {name: value for name, value in request.headers.items() if name != "Host"}
        async with self.session.request(request.method, url, data=body, headers=headers) as answer:
            got = await answer.read()
            if self.after:
                await self.after(request.method, request.raw_path)
            kept = {name: value for name, value in answer.headers.items() if name not in HOP}
            return web.Response(status=answer.status, body=got, headers=kept)

    async def _ask(self, method, path, body=None):
        headers = {"content-type": "application/octet-stream", "authorization": SIGNED}
        url = URL(f"http://127.0.0.1:{self.moto}/{self.name}{path}", encoded=True)
        async with self.session.request(method, url, data=body, headers=headers) as answer:
            got = await answer.read()
            assert answer.ok, f"{method} {path}: {answer.status} {got}"
            return got

    async def objects(self):
        names, after = [], ""
        while True:
            listing = ElementTree.fromstring(await self._ask("GET", f"?list-type=2&start-after={_quoted(after)}"))
            found = [it.text for it in listing.iterfind(".//{*}Contents/{*}Key")]
            names += found
            if not found:
                break
            after = found[-1]
        bodies = await asyncio.gather(*(self._ask("GET", f"/{_quoted(name)}") for name in names))
        return {name.removeprefix("a/prefix/"): body for name, body in zip(names, bodies, strict=True)}

    async def put(self, name, body):
        await self._ask("PUT", f"/a/prefix/{_quoted(name)}" if name else "", body)

    async def delete(self, name):
        await self._ask("DELETE", f"/a/prefix/{_quoted(name)}")

    async def joining(self):
        """Waits until a node has sent a part of a recording's file; it gets no answer until the test goes on."""
        came, self.going_on = asyncio.Event(), asyncio.Event()

        async def hold(method, path):
            if method == "PUT" and "/recording." in path:
                came.set()
                await self.going_on.wait()

        self.after = hold
        await came.wait()

    async def goes_on(self):
        self.after = None
        self.going_on.set()

    async def stop(self):
        if self.runner:
            await self.runner.cleanup()
        await self.session.close()
        await self.child.stop()


SIGNED = "AWS4-HMAC-SHA256 Credential=key/20261130/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
"""Moto asks that requests are signed, and not how."""
HOP = {"Content-Length", "Transfer-Encoding", "Connection", "Server", "Date"}
"""Headers of a connection, and what the rig's own server says itself."""


def _quoted(name):
    return URL.build(path=f"/{name}").raw_path[1:].replace("=", "%3D").replace("+", "%2B")
