"""Three nodes, their Redis, a double of Google, and the people of one test."""

import asyncio
import itertools
import os

from harness.google import Google
from harness.waiting import until

from .history import violations
from .nodes import Node
from .people import Listener, Streamer

COUNT = itertools.count(1)


class Livestream:
    """One livestream, with all that happened in it."""

    def __init__(self, name):
        self.id, self.user = f"livestream-{name}", f"streamer-{name}"
        self.history = []
        self.sessions = itertools.count(1)

    def next_session(self):
        return next(self.sessions)

    def check(self):
        """The history checker believes it."""
        self._check(violations(self.history))

    def check_order(self):
        """But for what was lost, and for sequences: where no node had Redis, each promised its own listeners alone."""
        self._check([line for line in violations(self.history) if not line.startswith(("lost", "sequence"))])

    def _check(self, found):
        few = [*found[:10], f"… {len(found)} in all …", *found[-10:]] if len(found) > 20 else found
        assert not found, "\n".join(few)


class Cluster:
    """Made with `start`; `sweep` ends what a test started and mends what it broke."""

    @classmethod
    async def start(cls, redis, environment=None, names="abc"):
        cluster = cls()
        cluster.redis, cluster.people = redis, []
        cluster.google = await Google.start()
        common = {
            "CASTAWAY_CLUSTER__URL": redis.url,
            "CASTAWAY_CLUSTER__PREFIX": f"castaway-{os.getpid()}-{next(COUNT)}",
            **(environment or {}),
        }
        cluster.nodes = [Node(name, cluster.google, common) for name in names]
        await cluster.mend()
        return cluster

    async def mend(self):
        """Everything runs, and every node has Redis."""
        await self.redis.heal()
        await asyncio.gather(*(node.start() for node in self.nodes if not node.alive))
        await asyncio.gather(*(node.settled() for node in self.nodes))

    async def livestream(self):
        livestream = Livestream(f"{os.getpid()}-{next(COUNT)}")
        await self.google.livestream(livestream.id, livestream.user)
        return livestream

    async def streamer(self, livestream, *nodes, seconds=8):
        """The livestream's streamer, let in at the first of these nodes."""
        return await self._come(Streamer(self.google, livestream, livestream.user, nodes), seconds)

    async def contender(self, livestream, *nodes):
        """The livestream's streamer at the first of these nodes, while others come to others."""
        streamer = Streamer(self.google, livestream, livestream.user, nodes)
        self.people.append(streamer)
        return await streamer.contend()

    async def listener(self, livestream, *nodes, seconds=8):
        """A new listener, let in at the first of these nodes."""
        return await self._come(Listener(self.google, livestream, f"guest-{next(COUNT)}", nodes), seconds)

    async def come(self, person, seconds=8):
        """A person of the test's own, let in at the first of its nodes."""
        return await self._come(person, seconds)

    async def _come(self, person, seconds):
        self.people.append(person)
        return await person.come(seconds)

    async def listeners(self, livestream, *nodes, each=1):
        """New listeners at each of these nodes."""
        nodes = nodes or self.nodes
        return await asyncio.gather(*(self.listener(livestream, node) for node in nodes for _ in range(each)))

    async def flag(self, livestream):
        """What Firestore says."""
        return (await self.google.document(livestream.id))["streamerConnected"]

    async def flagged(self, livestream, value, seconds=8):
        async def holds():
            return await self.flag(livestream) is value

        await until(holds, f"streamerConnected of {livestream.id} is {value}", seconds)

    async def held_once(self):
        """Waits until the nodes say that they hold one livestream in all."""

        async def once():
            return await self._owners() == 1

        await until(once, "one node holds the livestream")

    async def _owners(self):
        alive = [node for node in self.nodes if node.alive]
        held = await asyncio.gather(*(node.metric("castaway_cluster_livestreams", 'role="owner"') for node in alive))
        return sum(held)

    async def sweep(self):
        people, self.people = self.people, []
        await asyncio.gather(*(person.close() for person in people))
        await self.google.heal()
        await self.mend()
        for node in self.nodes:
            assert "NOPERM" not in node.log, "docs/clustering.md's user lacks a right"

    def print_logs(self, lines=40):
        for node in self.nodes:
            print(f"--- {node.name}", *node.log.splitlines()[-lines:], sep="\n")

    async def stop(self):
        for node in self.nodes:
            await node.remove()
        await self.google.stop()


async def all_hear(listeners, number, seconds=8):
    """Waits until each has heard the clip of this number."""
    await asyncio.gather(*(listener.hears_number(number, seconds) for listener in listeners))
