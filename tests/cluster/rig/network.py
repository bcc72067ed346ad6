"""Machines in network namespaces: each has one wire to its clients and one to Redis, that a test can cut.

    root namespace (clients, the double of Google) ── 10.x.1.254 on bridge `clients` ── 10.x.1.N   node N
                                                              bridge `redis`   ── 10.x.2.N   node N, and Redis

A cut is silent: the bridge no longer forwards anything on that port, and nobody is told. Nothing leads out of this machine.
"""

import asyncio
import contextlib
import ctypes
import itertools
import os
import re
import shutil
import socket
import subprocess
from urllib.parse import urlsplit

CLONE_NEWNET = 0x40000000
ROOT = 254
COUNT = itertools.count(1)
"""What was taken away may linger for a while: no name is used twice."""


def why_not():
    """Why there can be no namespaces here, or None."""
    if os.geteuid() != 0:
        return "network namespaces take root"
    for program in ("ip", "bridge"):
        if not shutil.which(program):
            return f"{program} (iproute2) is not installed"
    name = f"cw{os.getpid()}probe"
    try:
        _run("ip", "netns", "add", name)
        try:
            _run("ip", "link", "add", name[:15], "type", "bridge")
            _run("ip", "link", "del", name[:15])
            _run("ip", "netns", "exec", name, "true")
        finally:
            _run("ip", "netns", "del", name)
    except subprocess.CalledProcessError as error:
        return f"network namespaces cannot be made: {error.stderr.decode().strip()}"
    return None


def _run(*command):
    return subprocess.run(command, check=True, capture_output=True, timeout=10).stdout.decode()


@contextlib.contextmanager
def inside(namespace):
    """What this thread opens meanwhile is in that namespace."""
    libc = ctypes.CDLL(None, use_errno=True)

    def enter(path):
        with open(path) as handle:
            if libc.setns(handle.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), f"setns {path}")

    with open("/proc/thread-self/ns/net") as home:
        enter(f"/run/netns/{namespace}")
        try:
            yield
        finally:
            if libc.setns(home.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns back")


class Machine:
    """A namespace with its addresses on both bridges."""

    def __init__(self, network, number):
        self.network, self.number = network, number
        self.namespace = f"{network.name}-{number}"
        self.address = {side: network.address(side, number) for side in network.sides}

    def port(self, side):
        """The wire's end at the bridge."""
        return f"{self.network.name}{side[0]}{self.number}"

    @property
    def within(self):
        return (shutil.which("ip"), "netns", "exec", self.namespace)

    def make(self):
        _run("ip", "netns", "add", self.namespace)
        _run("ip", "-n", self.namespace, "link", "set", "lo", "up")
        for side in self.network.sides:
            end = f"{side[0]}0"
            _run("ip", "link", "add", self.port(side), "type", "veth", "peer", "name", end, "netns", self.namespace)
            _run("ip", "link", "set", self.port(side), "master", self.network.bridge(side), "up")
            _run("ip", "-n", self.namespace, "address", "add", f"{self.address[side]}/24", "dev", end)
            _run("ip", "-n", self.namespace, "link", "set", end, "up")

    def cut(self, side):
        _run("bridge", "link", "set", "dev", self.port(side), "state", "0")

    def restore(self, side):
        _run("bridge", "link", "set", "dev", self.port(side), "state", "3")

    def knows(self, other, side):
        """The other is beyond a router, as it were: its neighbour's address stays known while nothing comes from it."""
        links = _run("ip", "-n", other.namespace, "-o", "link", "show", "dev", f"{side[0]}0")
        hardware = re.search(r"link/ether (\S+)", links)[1]
        neighbour = (other.address[side], "lladdr", hardware, "nud", "permanent")
        _run("ip", "-n", self.namespace, "neighbour", "replace", *neighbour, "dev", f"{side[0]}0")

    def connections(self, *which):
        """`ss`'s lines of this machine's TCP connections, with their timers."""
        return _run(*self.within, "ss", "--tcp", "--numeric", "--options", "--oneline", "--no-header", *which)

    def socket(self, info):
        """Makes aiohttp's sockets (an item of `getaddrinfo`) on this machine."""
        with inside(self.namespace):
            return socket.socket(*info[:3])

    async def lead(self, *urls):
        """127.0.0.1 of this machine has what 127.0.0.1 of the root namespace has at these URLs' ports."""
        for port in {urlsplit(url).port for url in urls}:
            with inside(self.namespace):
                listening = socket.create_server(("127.0.0.1", port))
            self.network.servers.append(await asyncio.start_server(_leads_to(port), sock=listening))


def _leads_to(port):
    async def join(reader, writer):
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            writer.transport.abort()
            return
        await asyncio.gather(_pass(reader, far_writer), _pass(far_reader, writer))

    async def _pass(source, sink):
        try:
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
        except OSError:
            pass
        finally:
            sink.close()

    return join


class Network:
    """Two bridges and `count` machines; `remove` takes all of it away."""

    sides = ("clients", "redis")

    def __init__(self, count):
        # Of this process alone, and short: an interface's name has 15 characters at most.
        self.name = f"cw{os.getpid() % 100_000}x{next(COUNT)}"
        self.block = 64 + os.getpid() % 64
        self.servers = []
        self.machines = [Machine(self, number) for number in range(1, count + 1)]

    def bridge(self, side):
        return f"{self.name}{side[0]}"

    def address(self, side, number):
        # Shared address space (RFC 6598).
        return f"100.{self.block}.{self.sides.index(side) + 1}.{number}"

    def make(self):
        try:
            for side in self.sides:
                _run("ip", "link", "add", self.bridge(side), "type", "bridge", "stp_state", "0")
                _run("ip", "link", "set", self.bridge(side), "up")
            address = f"{self.address('clients', ROOT)}/24"
            _run("ip", "address", "add", address, "dev", self.bridge("clients"))
            for machine in self.machines:
                machine.make()
        except BaseException:
            self.remove()
            raise

    def remove(self):
        for server in self.servers:
            server.close()
        for machine in self.machines:
            with contextlib.suppress(subprocess.CalledProcessError):
                _run("ip", "netns", "del", machine.namespace)
        for side in self.sides:
            with contextlib.suppress(subprocess.CalledProcessError):
                _run("ip", "link", "del", self.bridge(side))
