"""The measurements of benches/cluster/run. Processor time is that of the processes, from /proc, in nanoseconds."""

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import time
from pathlib import Path

import aiohttp
import control
import drain
import scale
from rig.cluster import Cluster
from rig.nodes import Node
from rig.redis import Redis, Sharded

from harness.waiting import until

USER = "bench"
HEAD = 16
"""Of a clip: when it was sent, in nanoseconds of this machine's clock, and its number."""
WARM_UP = 50
ENVIRONMENT = {
    "CASTAWAY_LOG__LEVEL": "warn",
    "CASTAWAY_LIVESTREAM__MAX_LIVE": "5000",
    "CASTAWAY_SERVER__PING_INTERVAL": "10s",
    "CASTAWAY_SERVER__PING_TIMEOUT": "10s",
    "CASTAWAY_CLUSTER__LEASE": "6s",
    "CASTAWAY_CLUSTER__HEARTBEAT": "1s",
    "CASTAWAY_CLUSTER__TIMEOUT": "1s",
}


class Peer:
    """Engine.IO by hand: as little work as can be for who measures."""

    def __init__(self, socket, role):
        self.socket, self.role = socket, role
        self.arrived = []
        self.task = None

    @classmethod
    async def join(cls, session, node, role, token, livestream):
        url = f"{node.url}/socket.io/?EIO=4&transport=websocket"
        peer = cls(await session.ws_connect(url, max_msg_size=0, autoping=False), role)
        await peer.socket.send_str(f"40/{role}," + json.dumps({"idToken": token, "livestreamId": livestream}))
        success = asyncio.get_running_loop().create_future()
        peer.task = asyncio.create_task(peer._read(success))
        await asyncio.wait_for(success, 20)
        return peer

    async def _read(self, success):
        async for message in self.socket:
            if message.type == aiohttp.WSMsgType.BINARY:
                self.arrived.append((time.monotonic_ns(), bytes(message.data[:HEAD])))
            elif message.data == "2":
                await self.socket.send_str("3")
            elif f'42/{self.role},["success"' in message.data and not success.done():
                success.set_result(None)
            elif '["error"' in message.data:
                raise RuntimeError(message.data)

    async def upload(self, number, size):
        await self.socket.send_str('451-/streamer,["upload",{"_placeholder":true,"num":0}]')
        head = time.monotonic_ns().to_bytes(8) + number.to_bytes(8)
        await self.socket.send_bytes(head + bytes(size - HEAD))

    async def close(self):
        self.task.cancel()
        with contextlib.suppress(Exception):
            await self.socket.close()


def cpu(pid):
    """Nanoseconds that all threads of a process have run."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            total += int((task / "schedstat").read_text().split()[0])
    return total


class Bench:
    def __init__(self, cluster, session, token):
        self.cluster, self.session, self.token = cluster, session, token
        self.peers = []

    def processes(self):
        nodes = {node.name: node.pid for node in self.cluster.nodes}
        return nodes | {f"redis{n}": one.process.pid for n, one in enumerate(self.cluster.redis.processes)}

    def spent(self):
        """By node, and of all of Redis."""
        times = {name: cpu(pid) for name, pid in self.processes().items()}
        redis = sum(times.pop(name) for name in list(times) if name.startswith("redis"))
        return times | {"redis": redis}

    async def livestream(self, name):
        await self.cluster.google.livestream(name, USER)
        return name

    async def peer(self, node, role, livestream):
        peer = await Peer.join(self.session, node, role, self.token, livestream)
        self.peers.append(peer)
        return peer

    async def clear(self):
        await asyncio.gather(*(peer.close() for peer in self.peers))
        self.peers = []

    @contextlib.asynccontextmanager
    async def measured(self):
        """What each spent while this ran."""
        before, result = self.spent(), {}
        yield result
        result |= {name: after - before[name] for name, after in self.spent().items()}


def row(cells):
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def table(title, *head):
    print(f"\n{title}\n")
    row(head)
    row(["---", *["--:"] * (len(head) - 1)])


async def steadily(count, pace, each):
    """Calls `each(number)` so often a second; `pace` is in seconds."""
    began = time.monotonic()
    for number in range(count):
        await asyncio.sleep(max(0, began + number * pace - time.monotonic()))
        await each(number)


async def interest(bench, arguments):
    """Processor time of a clip, by how many nodes want it."""
    count, pace, size = arguments.clips, 0.005, 32_000
    here, *others = bench.cluster.nodes
    table(
        f"Processor time per clip, µs: {count} clips of {size} bytes, {1 / pace:.0f} a second, a listener on each node that "
        "wants them.",
        *["nodes that want it", "streamer's node", "a node that wants it", "a node that does not", "Redis"],
    )
    async with alone(bench) as node:
        each = await clips(bench, node, [], (count, pace, size))
        row(["no cluster", f"{each[node.name]:.0f}", "–", "–", "–"])
    for wanted in (0, 1, len(others)):
        each = await clips(bench, here, others[:wanted], (count, pace, size))
        mean = lambda nodes: f"{statistics.mean(each[it.name] for it in nodes):.0f}" if nodes else "–"  # noqa: E731
        row([wanted, f"{each[here.name]:.0f}", mean(others[:wanted]), mean(others[wanted:]), f"{each['redis']:.0f}"])


@contextlib.asynccontextmanager
async def alone(bench):
    """A node of no cluster, measured too."""
    node = Node("alone", bench.cluster.google, ENVIRONMENT)
    try:
        await node.start()
        bench.cluster.nodes.append(node)
        yield node
    finally:
        bench.cluster.nodes.remove(node)
        await node.remove()


async def clips(bench, here, wanting, how):
    """Microseconds that each process spends on a clip, beyond what it spends anyhow."""
    count, pace, size = how
    livestream = await bench.livestream(f"interest-{here.name}-{len(wanting)}")
    streamer = await bench.peer(here, "streamer", livestream)
    listeners = [await bench.peer(node, "listener", livestream) for node in wanting]
    for number in range(WARM_UP):
        await streamer.upload(number, size)
    heard = lambda: [len(it.arrived) for it in listeners]  # noqa: E731
    async with bench.measured() as idle:
        await asyncio.sleep(3)
    before = heard()
    async with bench.measured() as spent:
        began = time.monotonic()
        await steadily(count, pace, lambda number: streamer.upload(WARM_UP + number, size))
        said = lambda: f"all is heard: {before} before, {heard()} of {count}"  # noqa: E731
        await until(lambda: all(now >= then + count for now, then in zip(heard(), before)), said, 30)
        took = time.monotonic() - began
    await bench.clear()
    return {name: (spent[name] - idle[name] / 3 * took) / count / 1000 for name in spent}


async def many(bench, arguments):
    """Cost grows with what a node wants, not with how many livestreams there are."""
    size, every, seconds = 4_000, 5, arguments.seconds
    here, wants, rests, *_ = bench.cluster.nodes
    table(
        f"Milliseconds of processor time a second: livestreams on one node, a clip of {size} bytes each {every} s; one node "
        "wants 10.",
        *[
            "livestreams",
            "streamers' node",
            "wants 10",
            "wants none",
            "Redis",
            "clips that came to the one",
            "to the other",
        ],
    )
    for livestreams in (10, arguments.livestreams):
        streamers = []
        for first in range(0, livestreams, 50):
            names = [
                await bench.livestream(f"many-{livestreams}-{number}")
                for number in range(first, min(first + 50, livestreams))
            ]
            streamers += await asyncio.gather(*(bench.peer(here, "streamer", name) for name in names))
        listeners = [await bench.peer(wants, "listener", f"many-{livestreams}-{number}") for number in range(10)]
        came = [await node.metric("castaway_cluster_clips_received_total") for node in (wants, rests)]
        await asyncio.sleep(3)
        async with bench.measured() as spent:
            began = time.monotonic()
            count = livestreams * seconds // every
            await steadily(
                count, every / livestreams, lambda number: streamers[number % livestreams].upload(number, size)
            )
            took = time.monotonic() - began
        each = [f"{spent[name] / took / 1e6:.1f}" for name in (here.name, wants.name, rests.name, "redis")]
        await until(lambda: sum(len(it.arrived) for it in listeners) >= 10 * seconds // every, "all is heard", 30)
        now = [await node.metric("castaway_cluster_clips_received_total") for node in (wants, rests)]
        row([livestreams, *each, *(f"{after - before:.0f} of {count}" for before, after in zip(came, now))])
        await bench.clear()


def percentile(values, part):
    return statistics.quantiles(values, n=100)[part - 1] if len(values) > 1 else values[0]


async def hop(bench, arguments):
    """How much later a listener on another node hears a clip."""
    count, pace, size = arguments.clips // 2, 0.02, 32_000
    here, there, *_ = bench.cluster.nodes
    livestream = await bench.livestream("hop")
    streamer = await bench.peer(here, "streamer", livestream)
    near, far = await bench.peer(here, "listener", livestream), await bench.peer(there, "listener", livestream)
    await streamer.upload(0, size)
    await until(lambda: near.arrived and far.arrived, "the first is heard")
    await steadily(count, pace, lambda number: streamer.upload(1 + number, size))
    await until(lambda: len(near.arrived) > count and len(far.arrived) > count, "all is heard", 30)
    title = f"From upload to listener, ms: {count} clips of {size} bytes, {1 / pace:.0f} a second."
    table(title, "listener", "p50", "p99", "worst")
    times = {name: {head: at for at, head in peer.arrived[1:]} for name, peer in (("near", near), ("far", far))}
    rows = {
        "same node": [(at - int.from_bytes(head[:8])) / 1e6 for head, at in times["near"].items()],
        "another node": [(at - int.from_bytes(head[:8])) / 1e6 for head, at in times["far"].items()],
        "what the hop adds": [(times["far"][head] - at) / 1e6 for head, at in times["near"].items()],
    }
    for name, values in rows.items():
        row([name, f"{percentile(values, 50):.2f}", f"{percentile(values, 99):.2f}", f"{max(values):.2f}"])
    await bench.clear()


async def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a quarter of the clips, 200 livestreams")
    parser.add_argument("--sharded", action="store_true", help="Redis in three shards")
    parser.add_argument(
        "--scale", type=int, nargs="+", metavar="NUMBER", help="so many livestreams at once, nothing else"
    )
    parser.add_argument("--drain", type=int, nargs="+", metavar="NUMBER", help="so many listeners, nothing else")
    parser.add_argument(
        "--control", type=int, nargs="+", metavar="NUMBER", help="so many listeners beside the control page"
    )
    parser.add_argument("--livestreams", type=int, default=300, metavar="NUMBER", help="in which they are")
    parser.add_argument("--drain-time", type=int, default=60, metavar="SECONDS", help="server.drain_time")
    arguments = parser.parse_args()
    if arguments.control:
        return await control.measure(arguments.control, arguments.livestreams)
    if arguments.drain:
        return await drain.measure(arguments.drain, arguments.drain_time)
    if arguments.scale:
        return await scale.measure(arguments.scale)
    arguments.clips, arguments.livestreams, arguments.seconds = (500, 200, 5) if arguments.quick else (2000, 1000, 15)
    redis = Sharded() if arguments.sharded else Redis()
    cluster = None
    try:
        await redis.start()
        cluster = await Cluster.start(redis, ENVIRONMENT, names="abcd")
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:
            bench = Bench(cluster, session, await cluster.google.token(USER))
            print(f"{len(cluster.nodes)} nodes, Redis {redis.kind}, {os.cpu_count()} cores, all on this machine.")
            for measure in (interest, many, hop):
                await measure(bench, arguments)
    finally:
        if cluster:
            await cluster.stop()
        await redis.stop()


asyncio.run(main())
