"""A node: one daemon as a process, that can be killed, frozen, stopped, and started again with what it left on disk."""

import os
import shutil
import signal
import tempfile
from pathlib import Path

import aiohttp

from harness.server import Server
from harness.waiting import until

TIMES = {
    "CASTAWAY_CLUSTER__LEASE": "4s",
    "CASTAWAY_CLUSTER__HEARTBEAT": "500ms",
    "CASTAWAY_CLUSTER__TIMEOUT": "500ms",
    "CASTAWAY_CLUSTER__LINGER": "1s",
    "CASTAWAY_LIVESTREAM__GRACE": "3s",
}
LEASE, GRACE, HEARTBEAT = 4, 3, 0.5
NO_LIMITS = {
    "CASTAWAY_SERVER__MAX_CONNECTIONS_PER_ADDRESS": "20000",
    "CASTAWAY_UPLOAD__CLIPS_PER_MINUTE": "100000",
    "CASTAWAY_UPLOAD__CLIPS_BURST": "5000",
    "CASTAWAY_UPLOAD__BYTES_PER_SECOND": "1000000000",
    "CASTAWAY_UPLOAD__BYTES_BURST": "1000000000",
    "CASTAWAY_LISTENER__QUEUE_CLIPS": "5000",
    "CASTAWAY_LISTENER__QUEUE_BYTES": "200000000",
}
DEGRADED = "degraded: Redis is away"
CUT_OFF = "not ready: Redis has not answered"


class Node:
    """Made not running; its name and its state directory outlive its process."""

    def __init__(self, name, google, environment, within=()):
        self.name, self.google, self.within = name, google, within
        said = {"CASTAWAY_LOG__LEVEL": os.environ.get("CASTAWAY_LOG__LEVEL", "info")}
        self.environment = {**TIMES, **NO_LIMITS, **said, "CASTAWAY_CLUSTER__NODE": name, **environment}
        self.state = tempfile.mkdtemp(prefix="castaway-node-")
        self.server = None
        self.logs = []

    async def start(self):
        self.server = await Server.start(self.google, self.environment, self.state, within=self.within)

    @property
    def url(self):
        return self.server.url

    @property
    def pid(self):
        return self.server.child.process.pid

    @property
    def alive(self):
        return self.server is not None and self.server.child.process.returncode is None

    @property
    def log(self):
        """All that it ever said, every process of it."""
        return "".join(self.logs) + (self.server.log if self.server else "")

    async def _end(self, how):
        code = await self.server.stop(how)
        self.logs.append(self.server.log)
        self.server = None
        return code

    async def kill(self):
        await self._end(signal.SIGKILL)

    async def stop(self):
        return await self._end(signal.SIGTERM)

    def hang(self):
        """It does nothing from now on, and its connections stay."""
        self.server.child.process.send_signal(signal.SIGSTOP)

    def wake(self):
        self.server.child.process.send_signal(signal.SIGCONT)

    async def metric(self, name, part=""):
        """The sum of the samples of exactly this name whose line contains `part`."""
        _, text = await self.server.get("/metrics")
        lines = [line for line in text.splitlines() if line.startswith((name + " ", name + "{")) and part in line]
        return sum(float(line.split()[-1]) for line in lines)

    async def ready(self):
        """Status and text of /readyz; 0 while it cannot be asked."""
        try:
            return await self.server.get("/readyz")
        except aiohttp.ClientError:
            return 0, ""

    async def degraded(self):
        """It serves its own listeners, and says that Redis is away; for longer than a lease, that it is not ready."""
        status, text = await self.ready()
        return status == 200 and DEGRADED in text or status == 503 and CUT_OFF in text

    async def cut_off(self):
        status, text = await self.ready()
        return status == 503 and CUT_OFF in text

    async def in_touch(self):
        """Ready, with Redis, with nothing to say against it, and known to the other nodes."""
        status, text = await self.ready()
        up = status == 200 and DEGRADED not in text and await self.metric("castaway_redis_up") == 1
        return up and await self.metric("castaway_cluster_nodes") > 0

    async def settled(self, seconds=15):
        await until(self.in_touch, f"{self.name} is ready and has Redis", seconds)

    def memory(self):
        """Resident bytes."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) << 10
        raise RuntimeError("no VmRSS")

    async def remove(self):
        if self.server:
            await self.kill()
        shutil.rmtree(self.state, ignore_errors=True)
