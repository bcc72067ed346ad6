"""The daemon as a process, on free ports, with the short times that tests want."""

import shutil
import signal
import tempfile

import aiohttp

from .children import Child
from .programs import program
from .settings import SETTINGS


class Server:
    """One daemon against one double of Google; a given state directory outlives it; `within` is a command's beginning."""

    @classmethod
    async def start(cls, google, environment=None, state=None, within=()):
        server = cls()
        server.keep = state is not None
        server.state = state or tempfile.mkdtemp(prefix="castaway-state-")
        server.child = await Child.start(
            *[*within, program("CASTAWAY_DAEMON"), "serve"],
            environment={
                **SETTINGS["daemon"],
                **google.environment,
                "STATE_DIRECTORY": server.state,
                **(environment or {}),
            },
        )
        server.url, server.health = (await server.child.says(SETTINGS["addresses"])).groups()
        server.port = int(server.url.rpartition(":")[2])
        return server

    @property
    def log(self):
        return self.child.output

    async def get(self, path):
        """Status and text of a page of the health port."""
        async with aiohttp.ClientSession() as session, session.get(self.health + path) as answer:
            return answer.status, await answer.text()

    async def metric(self, name, part=""):
        """The sum of a metric's samples whose line contains `part`."""
        _, text = await self.get("/metrics")
        lines = [line for line in text.splitlines() if line.startswith(name) and part in line]
        return sum(float(line.split()[-1]) for line in lines)

    async def counted(self):
        """The samples that are not zero, but for a histogram's buckets."""
        _, text = await self.get("/metrics")
        lines = [line for line in text.splitlines() if line.startswith("castaway_") and "_bucket{" not in line]
        return "\n".join(line for line in lines if line.split()[-1] != "0")

    async def stop(self, how=signal.SIGTERM):
        code = await self.child.stop(how)
        if not self.keep:
            shutil.rmtree(self.state, ignore_errors=True)
        return code
