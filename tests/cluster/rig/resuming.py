"""Listeners that resume, as docs/client-protocol.md says, and a streamer that says one clip after the other."""

import asyncio
import itertools
import time

from .clips import stamp_of
from .people import Listener, Streamer
from .resumed import Acknowledged, Asked, Told, Took


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

    async def cut(self):
        """Its link breaks; it comes back to its next node."""
        if self.is_in():
            await self.visits[-1].socket.eio.disconnect(abort=True)


class OrderlyStreamer(Streamer):
    """Its clips have ids."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.with_ids = True

    async def cut(self):
        """Its link breaks; it comes back to its next node, perhaps before the old one has noticed."""
        if self.is_in():
            await self.visits[-1].socket.eio.disconnect(abort=True)

    async def talk(self, over, pace):
        """Says one clip after the other, until `over` is set; gives the last number."""
        for count in itertools.count():
            answer = await self.say_and_wait(1_000, 40)
            self.livestream.resuming.append(Acknowledged(time.monotonic(), answer.stamp.number))
            if count and over.is_set():
                return answer.stamp.number
            await asyncio.sleep(pace)
