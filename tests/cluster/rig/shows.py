"""A user who streams real sound in real time, each clip until it is acknowledged, while one thing after the other goes wrong."""

import asyncio
import itertools
import time
from dataclasses import dataclass

from harness.waiting import until

from .nodes import LEASE
from .people import Streamer
from .resuming import Talker

LATE = 0.3
"""Seconds by which a clip may be late without the recorder having stopped."""


class Device(Streamer):
    """Its clips are files of sound by their numbers, from 1, which are their ids as well."""

    def __init__(self, google, livestream, nodes, files):
        super().__init__(google, livestream, livestream.user, nodes)
        self.files, self.with_ids = files, True
        self.sent_to = []
        """Where it comes to next, before the others."""

    def clip(self, stamp):
        return self.files[stamp.number - 1]

    def turns(self):
        others = itertools.cycle(self.nodes)
        while True:
            yield self.sent_to.pop() if self.sent_to else next(others)


@dataclass
class Sent:
    """A clip, and between which times it was accepted, in milliseconds since 1970."""

    number: int
    first: int
    last: int


class Show(Talker):
    """`seconds` is the length of a clip's sound."""

    def __init__(self, cluster, livestream, files, seconds):
        self.files, self.seconds, self.sent = files, seconds, []
        self.strike = None
        """What goes wrong while the next clip is on its way."""
        super().__init__(cluster, livestream, seconds)

    def _device(self, nodes):
        return Device(self.cluster.google, self.livestream, nodes, self.files)

    async def perform(self, faults):
        """Streams all clips. Before the clips with the numbers in `faults` happens what is there."""
        due = time.monotonic()
        for number in range(1, len(self.files) + 1):
            for fault in faults.get(number, []):
                await fault()
            now = time.monotonic()
            # A recorder that stood still begins again; another one catches up.
            due = due + self.seconds if now < due + self.seconds + LATE else now + self.seconds
            await asyncio.sleep(due - now)
            first = _now()
            assert self.device.say() == number
            if self.strike:
                self.strike, strike = None, self.strike
                strike.set()
            await self.device.answered(number, 40)
            self.sent.append(Sent(number, first, _now()))


def _now():
    return time.time_ns() // 1_000_000


@dataclass
class Fault:
    """What went wrong while these clips were streamed; `is_silent`: the test itself made a silence before the first."""

    kind: str
    first: int
    last: int
    is_silent: bool = False


class Faults:
    """Each goes wrong when it is called, and is mended beside the livestream before the next one."""

    def __init__(self, cluster, bucket, show, dice):
        self.cluster, self.bucket, self.show, self.dice = cluster, bucket, show, dice
        self.all, self.mending = [], None
        self.began = time.monotonic()

    def drawn(self, count):
        """By the number of a clip, what goes wrong before it."""
        once = [self.take_over, self.restart, self.empty_redis, self.pause, self.away]
        kinds = [self.link, self.link, self.kill, self.kill, *once]
        self.dice.shuffle(kinds)
        each = count // len(kinds)
        places = [each * slot + self.dice.randint(each // 3, each // 2) for slot in range(len(kinds))]
        faults = {place: [kind] for place, kind in zip(places, kinds, strict=True)}
        # The bucket is away while the next thing goes wrong; all is well at the end.
        at = kinds.index(self.away)
        back = places[at + 1] + each // 4 if at + 1 < len(kinds) else places[at] + each // 3
        faults.setdefault(back, []).append(self.back)
        return faults

    async def mended(self):
        """Waits until nothing is broken but the bucket."""
        if self.mending:
            await self.mending

    def _notes(self, kind, is_silent=False):
        number = len(self.show.sent) + 1
        print(f"{time.monotonic() - self.began:6.2f}  {kind} before clip {number}")
        fault = Fault(kind, number, number, is_silent)
        self.all.append(fault)
        return fault

    def _mends(self, fault, work):
        async def mend():
            await work
            fault.last = len(self.show.sent) + 2

        self.mending = asyncio.create_task(mend())

    async def link(self):
        """The link is cut for two seconds, within the grace period."""
        await self.mended()
        self._notes("link", is_silent=True)
        device = self.show.device
        if self.dice.random() < 0.5:
            device.sent_to.append(device.node)
        device.pause = self.dice.uniform(1.2, 2.2)
        await device.cut()
        await asyncio.sleep(0.5)
        await until(device.is_in, "the streamer is back", 10)

    async def take_over(self):
        """The user goes on with another device, at another node."""
        await self.mended()
        self._notes("take_over", is_silent=True)
        nodes = [node for node in self.cluster.nodes if node is not self.show.device.node]
        self.dice.shuffle(nodes)
        await asyncio.sleep(self.dice.uniform(1.2, 2))
        await self.show.take_over([*nodes, self.show.device.node], knows_clips=True)

    async def pause(self):
        """The user streams nothing."""
        await self.mended()
        self._notes("pause", is_silent=True)
        await asyncio.sleep(self.dice.uniform(1.2, 2))

    async def restart(self):
        """The owner's node is stopped in order, and started."""
        await self.mended()
        node = self.show.device.node

        async def again():
            await node.stop()
            await node.start()
            await node.settled()

        self._mends(self._notes("restart"), again())

    async def kill(self):
        """The owner's node is killed, with a clip on its way: it is sent again, wherever it was lost."""
        await self.mended()
        node, after = self.show.device.node, self.dice.uniform(0, 0.02)
        self.show.strike = strike = asyncio.Event()

        async def again():
            await strike.wait()
            await asyncio.sleep(after)
            await node.kill()
            await asyncio.sleep(self.dice.uniform(0.2, 2))
            await node.start()
            await node.settled()

        self._mends(self._notes("kill"), again())

    async def empty_redis(self):
        """Redis is killed, and comes back empty: soon, or after the lease, when acks have been given up."""
        await self.mended()
        seconds = self.dice.choice([self.dice.uniform(0.1, 1), self.dice.uniform(LEASE + 0.5, LEASE + 2)])

        async def again():
            self.cluster.redis.kill()
            await asyncio.sleep(seconds)
            await self.cluster.mend()

        print(f"for {seconds:.1f} s:")
        self._mends(self._notes("empty_redis"), again())

    async def away(self):
        self._notes("away")
        await self.bucket.goes_away()

    async def back(self):
        print(f"{time.monotonic() - self.began:6.2f}  the bucket is back before clip {len(self.show.sent) + 1}")
        await self.bucket.comes_back()
