"""Thousands of livestreams: what a node that dies leaves behind, and what two nodes lose while Redis is away.

    benches/cluster/run --scale NUMBER…

Prints a row for each number: how long after a node's death its flags are cleared by the other node; and, over a death and a
restart of Redis, the streamers sent away, and the acknowledged clips that a listener on the other node did not hear.
"""

import asyncio
import contextlib
import json
import time

from rig.cluster import Cluster
from rig.redis import Redis

from harness.waiting import until

USER = "bench"
AT_ONCE, ATTEMPTS = 50, 5
HEARD = 500
"""Livestreams with a listener on the other node, at most."""
LEASE, GRACE, MORE = 6, 10, 5
ENVIRONMENT = {
    "CASTAWAY_LOG__LEVEL": "warn",
    "CASTAWAY_LIVESTREAM__MAX_LIVE": "20000",
    "CASTAWAY_LIVESTREAM__GRACE": f"{GRACE}s",
    "CASTAWAY_CLUSTER__LEASE": f"{LEASE}s",
    "CASTAWAY_CLUSTER__HEARTBEAT": "1s",
    "CASTAWAY_CLUSTER__TIMEOUT": "1s",
    "CASTAWAY_IDENTITY__LOOKUP": "off",
    # Pings are no part of this.
    "CASTAWAY_SERVER__PING_INTERVAL": "30m",
    "CASTAWAY_SERVER__PING_TIMEOUT": "30m",
    "CASTAWAY_SERVER__STREAMER_TIMEOUT": "30m",
}
UPLOAD = b'451-/streamer,%d["upload",{"_placeholder":true,"num":0}]'
REQUEST = (
    b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def frame(first, payload):
    """A client's frame, masked with zeros; up to 65,535 bytes."""
    short = len(payload) < 126
    length = bytes([0x80 | len(payload)]) if short else b"\xfe" + len(payload).to_bytes(2)
    return bytes([first]) + length + bytes(4) + payload


class Peer(asyncio.Protocol):
    """A streamer or a listener by hand: as little work as can be, there are thousands."""

    def __init__(self, role, token, livestream):
        self.role, self.livestream = role, livestream
        self.auth = json.dumps({"idToken": token, "livestreamId": livestream}).encode()
        self.came, self.upgraded = bytearray(), False
        self.joined = asyncio.get_running_loop().create_future()
        self.said, self.acked, self.heard = 0, set(), []
        self.gone = False

    def connection_made(self, transport):
        self.transport = transport
        transport.write(REQUEST)

    def connection_lost(self, _):
        self.gone = True
        if not self.joined.done():
            self.joined.set_exception(ConnectionError(f"{self.role} of {self.livestream} was not let in"))

    def data_received(self, data):
        self.came += data
        if not self.upgraded:
            if b"\r\n\r\n" not in self.came:
                return
            del self.came[: self.came.index(b"\r\n\r\n") + 4]
            self.upgraded = True
            self.transport.write(frame(0x81, b"40/%s," % self.role.encode() + self.auth))
        while payload := self._frame():
            self._message(*payload)

    def _frame(self):
        if len(self.came) < 2:
            return None
        head, length = 2, self.came[1]
        if length >= 126:
            head = 4 if length == 126 else 10
            length = int.from_bytes(self.came[2:head])
        if len(self.came) < head + length:
            return None
        taken = self.came[0], bytes(self.came[head : head + length])
        del self.came[: head + length]
        return taken

    def _message(self, first, payload):
        if first == 0x82:
            self.heard.append(int.from_bytes(payload[:8]))
        elif b'["success"' in payload and not self.joined.done():
            self.joined.set_result(None)
        elif payload.startswith(b"43/streamer,"):
            number, _, answer = payload[12:].partition(b"[")
            if json.loads(b"[" + answer)[0]["ok"]:
                self.acked.add(int(number))
            else:
                # As the app does: nobody knows whether it was published.
                asyncio.get_running_loop().call_later(1, self._send, int(number))

    def say(self):
        self.said += 1
        self._send(self.said)

    def _send(self, number):
        if not self.gone:
            self.transport.write(frame(0x81, UPLOAD % number) + frame(0x82, number.to_bytes(8) + bytes(992)))


async def at_once(work):
    """Awaits all of it, a few at a time."""
    room = asyncio.Semaphore(AT_ONCE)

    async def one(each):
        async with room:
            return await each

    return await asyncio.gather(*map(one, work))


class Scale:
    peer = Peer

    def __init__(self, cluster, token):
        self.cluster, self.token = cluster, token
        self.peers = []

    async def join(self, node, role, livestream):
        host, port = node.url.removeprefix("http://").split(":")
        make = lambda: self.peer(role, self.token, livestream)  # noqa: E731
        for attempt in range(ATTEMPTS):
            _, peer = await asyncio.get_running_loop().create_connection(make, host, int(port))
            try:
                await asyncio.wait_for(peer.joined, 120)
            except ConnectionError:
                # A busy machine: as the app does.
                if attempt + 1 == ATTEMPTS:
                    raise
                await asyncio.sleep(1)
            else:
                self.peers.append(peer)
                return peer

    async def streamers(self, name, count, nodes):
        """As many livestreams with their streamers, on the nodes in turn."""
        livestreams = [f"{name}-{count}-{number}" for number in range(count)]

        async def begins(number, livestream):
            await self.cluster.google.livestream(livestream, USER)
            return await self.join(nodes[number % len(nodes)], "streamer", livestream)

        return await at_once(begins(number, livestream) for number, livestream in enumerate(livestreams))

    async def flagged(self, streamers):
        """Those whose flag is set."""
        documents = await at_once(self.cluster.google.document(peer.livestream) for peer in streamers)
        flags = [document["streamerConnected"] for document in documents]
        return [peer for peer, flag in zip(streamers, flags) if flag]

    async def clear(self):
        for peer in self.peers:
            if not peer.gone:
                peer.transport.abort()
        self.peers = []

    async def death(self, count):
        """Seconds from a node's death until the other has cleared all its flags."""
        dies, _ = self.cluster.nodes
        streamers = await self.streamers("death", count, [dies])
        left = streamers

        async def all_set():
            return len(await self.flagged(streamers[-20:])) == 20 and len(await self.flagged(streamers)) == count

        await until(all_set, "all flags are set", 300)

        async def owned():
            return await dies.metric("castaway_cluster_livestreams", 'role="owner"') == count

        await until(owned, "Redis knows all owners", 300)
        await dies.kill()
        began = time.monotonic()
        while left and time.monotonic() - began < 600:
            # Those that are left: who is asked often answers the node late.
            left = await self.flagged(left)
            await asyncio.sleep(0.5)
        took = time.monotonic() - began
        await self.clear()
        await self.cluster.mend()
        return took, len(left)

    async def outage(self, count):
        """Streamers sent away, clips acknowledged, clips lost, seconds until all is acknowledged."""
        nodes = self.cluster.nodes
        streamers = await self.streamers("outage", count, nodes)
        few = streamers[:HEARD]
        work = (self.join(nodes[(number + 1) % 2], "listener", it.livestream) for number, it in enumerate(few))
        listeners = await at_once(work)
        everybody = lambda: all(it.gone or len(it.acked) == it.said for it in streamers)  # noqa: E731
        await self.say(streamers)
        await until(everybody, "the first clips are acknowledged", 300)
        self.cluster.redis.kill()
        await self.say(streamers)
        began = time.monotonic()
        await self.cluster.redis.heal()
        await self.say(streamers)
        left = lambda: f"all is acknowledged but of {sum(len(it.acked) < it.said for it in streamers)}"  # noqa: E731
        await until(everybody, left, 600)
        took = time.monotonic() - began
        lost = lambda: [  # noqa: E731
            (it.livestream, number)
            for streamer, it in zip(few, listeners)
            for number in streamer.acked
            if number not in it.heard
        ]
        with contextlib.suppress(AssertionError):
            await until(lambda: not lost(), "all is heard", 60)
        away = sum(peer.gone for peer in streamers)
        said, missing = sum(len(it.acked) for it in few), len(lost())
        await self.clear()
        return away, said, missing, took

    @staticmethod
    async def say(streamers):
        for number, peer in enumerate(streamers):
            peer.say()
            if number % 100 == 0:
                await asyncio.sleep(0)


async def measure(counts):
    """Prints both tables."""
    redis = Redis()
    cluster = None
    try:
        await redis.start()
        cluster = await Cluster.start(redis, ENVIRONMENT, names="ab")
        scale = Scale(cluster, await cluster.google.token(USER))
        print(f"Lease {LEASE} s, grace {GRACE} s; promised: flags are cleared after {LEASE + GRACE + MORE} s.\n")
        print("| livestreams of the dead node | flags cleared after, s | still set |\n|--:|--:|--:|", flush=True)
        for count in counts:
            took, left = await scale.death(count)
            print(f"| {count} | {took:.1f} | {left} |", flush=True)
        print(
            "\n| livestreams on 2 nodes | streamers sent away | clips acknowledged | lost | all acknowledged after, s |"
        )
        print("|--:|--:|--:|--:|--:|", flush=True)
        for count in counts:
            away, said, missing, took = await scale.outage(count)
            print(f"| {count} | {away} | {said} | {missing} | {took:.1f} |", flush=True)
    finally:
        if cluster:
            await cluster.stop()
        await redis.stop()
