"""The soak's own parts: what the daemon holds is counted right, a link does what it says, a seed gives one schedule."""

import asyncio
import os
import random
import socket

import pytest
import schedule
from gauges import MEMORY_MARGIN, Held, descriptors, gauges, more
from links import Link

METRICS = """# HELP castaway_listeners Listeners.
# TYPE castaway_listeners gauge
castaway_listeners 3
# TYPE castaway_livestreams gauge
castaway_livestreams{state="live"} 2
# TYPE castaway_clips_sent_total counter
castaway_clips_sent_total 9
# TYPE process_open_fds gauge
process_open_fds 12
"""


def test_gauges_are_read_without_counters():
    assert gauges(METRICS) == {"castaway_listeners": 3, 'castaway_livestreams{state="live"}': 2}


def test_more_of_anything_is_found():
    before = Held(100, 10, {"castaway_listeners": 0})
    assert more(before, before) == []
    assert more(before, Held(100 + MEMORY_MARGIN, 9, {"castaway_listeners": 0})) == []
    after = Held(101 + MEMORY_MARGIN, 11, {"castaway_listeners": 1, "castaway_sessions": 2})
    assert [line.split(":")[0] for line in more(before, after)] == ["memory", "descriptors", "gauge", "gauge"]


def test_a_descriptor_more_is_counted():
    before = descriptors(os.getpid())
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
        assert descriptors(os.getpid()) == before + 2
        assert descriptors(os.getpid(), {server.getsockname()[1]}) == before + 1


def test_a_seed_gives_one_schedule():
    people = {"listener": 50, "streamer": 3}
    one, other, another = (schedule.steps(random.Random(seed), 60, people) for seed in (1, 1, 2))
    assert one == other != another
    assert {step.action for step in one} == {*schedule.LISTENER, *schedule.STREAMER}


class Far:
    """A server that keeps what comes, behind a link, and a client before it."""

    async def __aenter__(self):
        self.came, self.far, self.ended = b"", None, asyncio.Event()
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.link = await Link.to(self.server.sockets[0].getsockname()[1])
        self.port = int(self.link.url.rpartition(":")[2])
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.writer.write(b"hello")
        while self.came != b"hello":
            await asyncio.sleep(0.01)
        return self

    async def _serve(self, reader, writer):
        self.far = writer
        try:
            while data := await reader.read(1000):
                self.came += data
            self.end = "closed"
        except OSError:
            self.end = "reset"
        self.ended.set()

    async def __aexit__(self, *_):
        self.link.let_go()
        self.writer.transport.abort()
        self.far.transport.abort()
        self.server.close()
        await asyncio.wait_for(self.ended.wait(), 5)


async def is_reset(reader):
    with pytest.raises(OSError):
        await asyncio.wait_for(reader.read(), 5)
    return True


@pytest.mark.parametrize("reset", [True, False])
async def test_a_cut_ends_both_sides(reset):
    async with Far() as far:
        far.link.cut(reset)
        assert not reset or await is_reset(far.reader)
        await asyncio.wait_for(far.ended.wait(), 5)
        assert far.end == ("reset" if reset else "closed")
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", far.port)


async def test_a_held_link_tells_one_side():
    async with Far() as far:
        far.link.hold()
        assert await is_reset(far.reader)
        far.far.write(b"are you there?")
        await asyncio.sleep(0.2)
        assert not far.ended.is_set()
        far.link.close()
        await asyncio.sleep(0.1)
        assert not far.ended.is_set()
        far.link.let_go()
        await asyncio.wait_for(far.ended.wait(), 5)


async def test_a_slow_link_passes_its_rate():
    async with Far() as far:
        far.link.slow_down(1_000)
        far.far.write(b"x" * 500)
        await far.reader.readexactly(500)
        far.far.write(b"y")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(far.reader.readexactly(1), 0.3)
        far.link.heal()
        assert await asyncio.wait_for(far.reader.readexactly(1), 1) == b"y"
