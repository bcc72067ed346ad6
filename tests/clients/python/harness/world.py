"""One daemon (two nodes on a cluster) against a double of Google, and the clients of one test."""

import itertools
import os
import signal
from pathlib import Path
from types import SimpleNamespace

from .client import Client
from .cluster import REDIS, NewCluster
from .programs import program
from .server import Server
from .waiting import until
from .wire import Wire

SPEECH = Path(program("CASTAWAY_AUDIO")).read_bytes()
"""A few seconds of speech, as a phone would record them."""


def clip(number, size=1000):
    """A clip of `size` bytes that differs from every other `number`."""
    return number.to_bytes(4) + bytes([number % 251]) * (size - 4)


def number_of(data):
    return int.from_bytes(data[:4])


class World:
    """What a test begins with; `sweep` ends what it started."""

    names = itertools.count(1)

    @classmethod
    async def start(cls, google, environment=None):
        world = cls()
        world.clients, world.wires, world.servers = [], [], []
        world.transports = ["websocket"]
        world.cluster = NewCluster()
        world.google = google
        world.server = await world._node(environment)
        # Where listeners come to.
        world.listeners_node = await world._node(environment) if REDIS else world.server
        return world

    async def _node(self, environment, state=None):
        return await Server.start(self.google, {**self.cluster.node(), **(environment or {})}, state)

    def name(self, stem):
        """A name that no other test has."""
        return f"{stem}-py{os.getpid()}-{next(self.names)}"

    async def livestream(self):
        """A livestream in Firestore, and its owner."""
        livestream = SimpleNamespace(id=self.name("livestream"), user=self.name("streamer"))
        await self.google.livestream(livestream.id, livestream.user)
        return livestream

    async def client(self, role, user=None, livestream=None, url=None, auth=None, **options):
        client = Client(role)
        client.user = user or self.name("guest")
        token = options["token"] if "token" in options else await self.google.token(client.user)
        headers = {"id-token": token, "livestream-id": livestream}
        headers = {name: value for name, value in headers.items() if value is not None}
        self.clients.append(client)
        server = self.listeners_node if role == "listener" else self.server
        await client.connect(url or server.url, self.transports, headers, auth)
        return client

    async def streamer(self, livestream, **options):
        """A streamer of `livestream` that was accepted."""
        client = await self.client("streamer", user=livestream.user, livestream=livestream.id, **options)
        assert await client.next("success") == f"User {livestream.user} connected as streamer to livestream {livestream.id}."
        return client

    async def listener(self, livestream, **options):
        """A listener of `livestream` that was accepted."""
        client = await self.client("listener", livestream=livestream.id, **options)
        assert await client.next("success") == f"User {client.user} connected as listener to livestream {livestream.id}."
        return client

    async def on_air(self, listeners=1):
        """A new livestream with its streamer and listeners."""
        livestream = await self.livestream()
        livestream.streamer = await self.streamer(livestream)
        livestream.listeners = [await self.listener(livestream) for _ in range(listeners)]
        livestream.listener = livestream.listeners[0] if listeners else None
        return livestream

    async def counted(self, livestream, listeners):
        """Waits until the streamer was told of so many listeners: a node hears a heartbeat later who listens on another."""

        async def told():
            return any(name == "state" and it["listeners"] == listeners for name, it in livestream.streamer.journal)

        if REDIS:
            await until(told, "the listeners are counted")

    async def wire(self, server=None):
        wire = await Wire.to((server or self.server).url)
        self.wires.append(wire)
        return wire

    async def another(self, environment=None, state=None):
        """Another daemon beside the world's own."""
        server = await self._node(environment, state)
        self.servers.append(server)
        return server

    async def flag(self, livestream, connected, seconds=8):
        """Waits until Firestore says `connected` of the livestream."""

        async def holds():
            return ((await self.google.document(livestream)) or {}).get("streamerConnected") is connected

        await until(holds, f"streamerConnected of {livestream} is {connected}", seconds)

    async def explain(self):
        """Prints what every client heard, and what every daemon counted and logged."""
        for client in self.clients:
            print(f"--- {client.namespace} of {client.user} heard {client.heard()}")
        for server in dict.fromkeys([self.server, self.listeners_node, *self.servers]):
            if server.child.process.returncode is None:
                print(f"--- {server.url} counted", await server.counted(), sep="\n")
            print(f"--- {server.url} logged", *server.log.splitlines()[-40:], sep="\n")

    async def sweep(self):
        clients, self.clients = self.clients, []
        try:
            for client in clients:
                await client.close()
        finally:
            for wire in self.wires:
                wire.close()
            for server in self.servers:
                await server.stop(signal.SIGKILL)
            self.wires, self.servers = [], []
            await self.google.heal()

    async def stop(self):
        await self.server.stop(signal.SIGKILL)
        if self.listeners_node is not self.server:
            await self.listeners_node.stop(signal.SIGKILL)


async def refused(client, text):
    """A refusal is: accepted, the event `error` with `text`, then DISCONNECT."""
    assert await client.next("error") == text
    assert await client.next("disconnect") == client.socket.reason.SERVER_DISCONNECT
    assert client.names() == ["connect", "error", "disconnect"]
