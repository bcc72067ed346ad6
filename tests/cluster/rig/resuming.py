"""Listeners that resume, as docs/client-protocol.md says, and a user who says one clip after the other, on one device after
the other."""

import asyncio
import itertools
import time

from harness.waiting import until

from .clips import stamp_of
from .people import Listener, Streamer
from .resumed import Acknowledged, Asked, GivenUp, Lost, Told, Took


class Resumer(Listener):
    """Goes on after the latest clip that it had; takes none twice, by the sequence in an epoch, and by the id."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.place, self.ids, self.gaps = None, set(), []
        self.latest = None

    def auth(self):
        self.livestream.resuming.append(Asked(time.monotonic(), self.user, self.latest))
        if self.place is None:
            return {"features": ["clips"]}
        epoch, sequence = self.place
        return {"features": ["clips"], "resume": {"epoch": epoch, "sequence": sequence}}

    def notices(self, visit, name, value):
        assert name != "audio", f"{self} asked for clips"
        if name == "resumed":
            told = Told(time.monotonic(), self.user, value["recovered"], value.get("missed"))
            self.livestream.resuming.append(told)
        elif name == "gap":
            self.gaps.append(value)
            self.livestream.resuming.append(Lost(time.monotonic(), self.user, value["from"], value["to"]))
        elif name == "clip" and not self.has(value):
            stamp = stamp_of(value["bytes"])
            assert stamp.livestream == self.livestream.id, f"{self} heard another livestream's {stamp}"
            self.livestream.resuming.append(Took(time.monotonic(), self.user, stamp.number))
            self.heard.append(stamp)
            self.latest = stamp.number

    def has(self, clip):
        epoch, sequence = clip["epoch"], clip["sequence"]
        if self.place is not None and self.place[0] == epoch and sequence <= self.place[1]:
            return True
        self.place = (epoch, sequence)
        is_known = clip["id"] in self.ids
        self.ids.add(clip["id"])
        return is_known

    def stall(self):
        """Its connection reads nothing, until the returned function is called."""
        transport = self.visits[-1].socket.eio.ws._conn.transport
        transport.pause_reading()
        return transport.resume_reading


class Device(Streamer):
    """Its clips have ids."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.with_ids = True


class Talker:
    """A user who says one clip after the other, each until it is acknowledged; their newest device has the livestream."""

    def __init__(self, cluster, livestream, pace):
        self.cluster, self.livestream = cluster, livestream
        self.pace, self.size = pace, 1_000
        self.device = self._device(cluster.nodes)

    def _device(self, nodes):
        return Device(self.cluster.google, self.livestream, self.livestream.user, nodes)

    @property
    def latest(self):
        """The latest clip that was acknowledged."""
        return max(self.device.acked, default=0)

    async def come(self):
        await self.cluster.come(self.device)

    async def take_over(self, nodes, knows_clips):
        """Goes on with another device, that comes to the first of these nodes, and says again what was not acknowledged if
        it `knows_clips`."""
        before, device = self.device, self._device(nodes)
        device.numbers, device.acked = before.numbers, before.acked
        if knows_clips:
            device.outbox.update(before.outbox)
        else:
            given_up = (GivenUp(time.monotonic(), number) for number in before.outbox)
            self.livestream.resuming.extend(given_up)
        self.device = device
        await self.cluster.come(device)
        await until(before.told.is_set, lambda: f"the device before is told; it heard {before.names()[-10:]}")
        assert f"Livestream {self.livestream.id} was taken over by another connection." in before.said("error")

    async def talk(self, over):
        """Says one clip after the other, until `over` is set; gives the last number."""
        for count in itertools.count():
            device = self.device
            number = device.say(self.size)

            def judged():
                return number in device.acked or number not in self.device.outbox  # noqa: B023

            await until(judged, lambda: f"clip {number} is acknowledged; {self.device.refusals}", 40)  # noqa: B023
            if number in device.acked:
                acknowledged = Acknowledged(time.monotonic(), number, device.acked[number].sequence)
                self.livestream.resuming.append(acknowledged)
                if count and over.is_set():
                    return number
            await asyncio.sleep(self.pace)
