"""Redis as processes: one alone, one behind TLS, or three shards that share the keys; all with a password and a user."""

import asyncio
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

from harness.waiting import until

USER = "castaway"
PASSWORD = "p@ss/w:rd?#1"
"""With what has to be escaped in a URL."""
ESCAPED = "p%40ss%2Fw%3Ard%3F%231"
ADMIN = "the-admin"

CONFIG = """
bind 127.0.0.1 {bind}
dir {directory}
save ""
appendonly no
requirepass {admin}
{user}
"""
CLUSTERING = Path(__file__).resolve().parents[3] / "docs/clustering.md"
SHARDED = """
cluster-enabled yes
cluster-node-timeout 1500
cluster-require-full-coverage no
cluster-allow-pubsubshard-when-down yes
"""


def documented_user(sharded):
    """The user that operators are told to make, with no right more; the tests' prefixes only begin with `castaway`."""
    text = CLUSTERING.read_text()
    user = re.search(rf"^ +(user {USER} on >PASSWORD .*?)\n\n", text, re.MULTILINE | re.DOTALL)[1]
    if sharded:
        user += " " + re.search(r"With shards also `([^`]+)`", text)[1]
    return " ".join(user.split()).replace("PASSWORD", PASSWORD).replace("castaway:*", "castaway*")


def free_port():
    """Below the ports that the kernel gives away, so that a process may come back to it."""
    for _ in range(200):
        port = random.randint(20_000, 31_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no free port")


class Process:
    """One redis-server, that can be killed, frozen, and started again where it was, empty."""

    def __init__(self, config="", bind="", host="127.0.0.1", tls=None, within=()):
        self.host, self.tls, self.within = host, tls, within
        self.port, self.directory = free_port(), Path(tempfile.mkdtemp(prefix="castaway-redis-"))
        user = documented_user(sharded="cluster-enabled" in config)
        text = CONFIG.format(bind=bind, directory=self.directory, admin=ADMIN, user=user)
        ports = f"port 0\ntls-port {self.port}\n{tls.redis}" if tls else f"port {self.port}\n"
        (self.directory / "redis.conf").write_text(text + ports + config)
        self.process = None

    async def start(self):
        log = (self.directory / "log").open("ab")
        command = [*self.within, "redis-server", str(self.directory / "redis.conf")]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        await until(self.answers, f"redis on port {self.port} answers", 30)

    async def answers(self):
        return await self.ask("PING") == ["PONG"]

    async def ask(self, *command):
        """redis-cli's lines; none while there is no answer."""
        options = ["-h", self.host, "-p", str(self.port), "--no-auth-warning"]
        if self.tls:
            options += ["--tls", "--cacert", str(self.tls.authority)]
        asked = await asyncio.create_subprocess_exec(
            *self.within,
            *["redis-cli", *options, *command],
            env={"PATH": os.environ["PATH"], "REDISCLI_AUTH": ADMIN},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            out, _ = await asyncio.wait_for(asked.communicate(), 3)
        except TimeoutError:
            asked.kill()
            await asked.wait()
            return []
        return out.decode(errors="replace").split("\n")[:-1] if asked.returncode == 0 else []

    def runs(self):
        return self.process is not None and self.process.poll() is None

    def signal(self, number):
        if self.runs():
            self.process.send_signal(number)

    def kill(self):
        self.signal(signal.SIGKILL)
        if self.process:
            self.process.wait()

    def remove(self):
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)


class Redis:
    """What the nodes share: one process, or several."""

    kind = "standalone"

    def __init__(self, tls=None, **options):
        self.tls = tls
        self.processes = [Process(tls=tls, **options)]

    async def start(self):
        for one in self.processes:
            await one.start()

    @property
    def url(self):
        """As a node is told it, with the user's name and password."""
        first = self.processes[0]
        return f"redis{'s' if self.tls else ''}://{USER}:{ESCAPED}@{first.host}:{first.port}"

    def kill(self):
        """The power goes: nothing is left of what it held."""
        for one in self.processes:
            one.kill()

    def freeze(self):
        """It hangs: connections stay, nothing is answered."""
        for one in self.processes:
            one.signal(signal.SIGSTOP)

    def thaw(self):
        for one in self.processes:
            one.signal(signal.SIGCONT)

    async def heal(self):
        """Runs again, whatever was done to it."""
        self.thaw()
        await asyncio.gather(*(one.start() for one in self.processes if not one.runs()))
        await self.settled()

    async def settled(self):
        """Waits until every key has somebody who answers."""

    channels, counts = "CHANNELS", "NUMSUB"

    async def subscribers(self, livestream):
        """How many connections are subscribed to each channel that is about this livestream."""
        found = {}
        for one in self.processes:
            for channel in await one.ask("PUBSUB", self.channels):
                if livestream in channel:
                    _, count = await one.ask("PUBSUB", self.counts, channel)
                    found[channel] = found.get(channel, 0) + int(count)
        return found

    async def forget_connections_of(self, host):
        """What was on the way to this address is lost."""
        for one in self.processes:
            for line in await one.ask("CLIENT", "LIST"):
                address = dict(field.split("=", 1) for field in line.split() if "=" in field).get("addr", "")
                if address.startswith(f"{host}:"):
                    await one.ask("CLIENT", "KILL", "ADDR", address)

    async def stop(self):
        for one in self.processes:
            one.remove()


class Sharded(Redis):
    """Three processes, a third of the keys each."""

    kind = "sharded"
    channels, counts = "SHARDCHANNELS", "SHARDNUMSUB"

    def __init__(self):
        self.tls = None
        self.processes = [Process(config=SHARDED + f"cluster-port {free_port()}\n") for _ in range(3)]

    async def start(self):
        await super().start()
        addresses = [f"{one.host}:{one.port}" for one in self.processes]
        making = await asyncio.create_subprocess_exec(
            *["redis-cli", "--no-auth-warning", "--cluster", "create", *addresses, "--cluster-yes"],
            env={"PATH": os.environ["PATH"], "REDISCLI_AUTH": ADMIN},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        out, _ = await asyncio.wait_for(making.communicate(), 30)
        assert making.returncode == 0, out.decode()
        await self.settled()

    async def settled(self):
        async def whole():
            infos = await asyncio.gather(*(one.ask("CLUSTER", "INFO") for one in self.processes))
            lines = [{line.strip() for line in info} for info in infos]
            return all({"cluster_state:ok", "cluster_slots_ok:16384"} <= one for one in lines)

        await until(whole, "the three shards have found each other", 20)


class Tls:
    """A certificate authority of a test's own, and a certificate of 127.0.0.1."""

    def __init__(self):
        self.directory = Path(tempfile.mkdtemp(prefix="castaway-tls-"))
        self.authority = self.directory / "ca.crt"
        key, request, certificate = (self.directory / f"redis.{end}" for end in ("key", "csr", "crt"))
        names = self.directory / "names"
        names.write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth\n")
        new = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        ca = self.directory / "ca.key"
        self._openssl(*new, "-x509", "-days", "2", "-subj", "/CN=test authority", "-keyout", ca, "-out", self.authority)
        self._openssl(*new, "-subj", "/CN=redis", "-keyout", key, "-out", request)
        signed = ["-in", request, "-CA", self.authority, "-CAkey", ca, "-CAcreateserial", "-days", "2"]
        self._openssl("x509", "-req", *signed, "-extfile", names, "-out", certificate)
        self.redis = (
            f"tls-cert-file {certificate}\ntls-key-file {key}\ntls-ca-cert-file {self.authority}\ntls-auth-clients no\n"
        )

    def _openssl(self, *arguments):
        subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=20)

    def remove(self):
        shutil.rmtree(self.directory, ignore_errors=True)
