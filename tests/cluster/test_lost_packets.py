"""One node whose packets are really lost: what the kernel closes is counted, and what comes back in time is not closed."""

import asyncio
import contextlib
import re
from types import SimpleNamespace

import aiohttp
import pytest
import pytest_asyncio
from rig.network import Network, inside, why_not
from rig.nodes import Node

from harness.client import Client
from harness.google import Google
from harness.waiting import until

ENVIRONMENT = {
    "CASTAWAY_SERVER__TCP_USER_TIMEOUT": "4s",
    "CASTAWAY_SERVER__TCP_KEEPALIVE_TIME": "1s",
    # Nothing else ends a connection.
    "CASTAWAY_SERVER__PING_INTERVAL": "25s",
    "CASTAWAY_SERVER__PING_TIMEOUT": "120s",
    "CASTAWAY_LISTENER__STALL_TIMEOUT": "120s",
    "CASTAWAY_LISTENER__MAX_LAG": "120s",
}
CLOSED = "castaway_connections_closed_total"
REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
REASON = why_not()

pytestmark = pytest.mark.skipif(REASON is not None, reason=REASON or "")


class Wires:
    """The node on one machine, its listeners on the others, its streamer on none: that wire is never cut."""

    def __init__(self, network, google):
        self.server, *self.far = network.machines
        self.google, self.clients = google, []
        self.node = Node("alone", google, ENVIRONMENT, self.server.within)

    async def start(self):
        double = self.google.environment
        urls = [value for value in double.values() if value.startswith("http://")]
        await self.server.lead(*urls, f"http://{double['GCE_METADATA_HOST']}")
        address = self.server.address["clients"]
        self.node.environment["CASTAWAY_SERVER__LISTEN"] = f"{address}:3000"
        self.node.environment["CASTAWAY_SERVER__HEALTH_LISTEN"] = f"{address}:8080"
        for machine in self.far:
            self.server.knows(machine, "clients")
        await self.node.start()

        async def ready():
            return (await self.node.ready())[0] == 200

        await until(ready, "the node is ready")

    async def client(self, role, user, livestream, machine=None):
        """Joined, over a connection that begins on this machine."""
        client = Client(role)
        if machine:
            connector = aiohttp.TCPConnector(socket_factory=machine.socket)
            client.socket.eio.http = aiohttp.ClientSession(connector=connector)
        client.socket.reconnection = False
        self.clients.append(client)
        headers = {"id-token": await self.google.token(user), "livestream-id": livestream}
        await client.connect(self.node.url, ["websocket"], headers)
        await client.next("success")
        return client

    async def request(self, machine):
        """An HTTP connection from this machine that was answered once, and is kept."""
        with inside(machine.namespace):
            streams = await asyncio.open_connection(self.server.address["clients"], 3000)
        idle = SimpleNamespace(reader=streams[0], writer=streams[1])
        await ask(idle)
        return idle

    async def livestream(self):
        await self.google.livestream("livestream", "streamer")
        return await self.client("streamer", "streamer", "livestream")

    async def closed(self, reason=""):
        """How many connections were closed, for this reason or for any."""
        return await self.node.metric(CLOSED, f'reason="{reason}"' if reason else "")

    def lost(self, machine, timer):
        """How many packets in a row the node's kernel has sent to this machine for nothing, by this timer's account."""
        lines = self.server.connections("dst", machine.address["clients"])
        found = re.findall(rf"timer:\({timer},[^,]*,(\d+)\)", lines)
        return max(map(int, found), default=0)

    async def quiet(self, machine, listener):
        """Waits until the listener has been told its state, at its admission and with its count, and acknowledged it."""
        told = lambda: [name for name, _ in listener.journal].count("state") == 2  # noqa: E731
        await until(told, "the listener is counted")

        def acknowledged():
            lines = self.server.connections("dst", machine.address["clients"]).splitlines()
            return all(line.split()[2] == "0" for line in lines)

        await until(acknowledged, "all is acknowledged")

    async def stop(self):
        for machine in self.far:
            machine.restore("clients")
        for client in self.clients:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(client.close(), 2)
        await self.node.remove()
        await self.google.stop()


async def ask(idle):
    idle.writer.write(REQUEST)
    head = await asyncio.wait_for(idle.reader.readuntil(b"\r\n\r\n"), 8)
    length = int(re.search(rb"content-length: (\d+)", head.lower())[1])
    await idle.reader.readexactly(length)


@pytest_asyncio.fixture
async def wires(request):
    network = Network(3)
    network.make()
    wires = None
    try:
        wires = Wires(network, await Google.start())
        await wires.start()
        yield wires
        if getattr(request.node, "broken", False):
            print(wires.node.log[-5000:])
    finally:
        if wires:
            await wires.stop()
        network.remove()


async def test_packets_lost_within_the_timeout_close_nothing(wires):
    machine = wires.far[0]
    streamer = await wires.livestream()
    listener = await wires.client("listener", "guest", "livestream", machine)
    machine.cut("clients")
    assert (await streamer.upload(b"a clip that is lost at first"))["ok"]
    await until(lambda: wires.lost(machine, "on") >= 2, "the kernel has sent it again, for nothing")
    machine.restore("clients")
    assert await listener.next("audio") == b"a clip that is lost at first"
    assert (await streamer.upload(b"another"))["ok"]
    assert await listener.next("audio") == b"another"
    assert await wires.closed() == 0
    assert "disconnect" not in listener.names()


async def test_packets_lost_beyond_the_timeout_close_one_connection(wires):
    lost, fine = wires.far
    streamer = await wires.livestream()
    await wires.client("listener", "guest", "livestream", lost)
    stays = await wires.client("listener", "stays", "livestream", fine)
    lost.cut("clients")
    assert (await streamer.upload(b"a clip"))["ok"]

    async def counted():
        return await wires.closed("kernel_timeout") == 1

    await until(counted, "the kernel has closed the connection", 20)
    assert await wires.closed() == 1
    assert await stays.next("audio") == b"a clip"
    assert (await streamer.upload(b"another"))["ok"]
    assert await stays.next("audio") == b"another"


@pytest.mark.timeout(150)
async def test_idle_connection_is_closed_after_five_lost_probes(wires):
    returns, stays_away = wires.far
    streamer = await wires.livestream()
    listener = await wires.client("listener", "guest", "livestream", returns)
    idle, _gone = await wires.request(returns), await wires.request(stays_away)
    await wires.quiet(returns, listener)
    for machine in wires.far:
        machine.cut("clients")
    # The first after a second, the others 10 s apart.
    await until(lambda: wires.lost(returns, "keepalive") >= 2, "two probes are lost", 30)
    returns.restore("clients")
    await ask(idle)
    assert (await streamer.upload(b"a clip"))["ok"]
    assert await listener.next("audio") == b"a clip"
    assert await wires.closed() == 0

    async def counted():
        return await wires.closed("kernel_timeout") == 1

    await until(counted, "the kernel has closed the connection whose probes are lost", 70)
    await ask(idle)
    assert await wires.closed() == 1
