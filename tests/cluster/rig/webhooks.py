"""A receiver of webhooks that keeps what it is told, as docs/webhooks.md says how to."""

import base64
import hashlib
import hmac
import json

import aiohttp.web

from harness.waiting import until

from .redis import free_port

KEY = b"0123456789abcdef0123456789abcdef"


class Receiver:
    """Made not running; its address outlives a stop."""

    def __init__(self):
        self.port, self.runner = free_port(), None
        self.told, self.refused = [], []
        """All that it has taken, as it came: pairs of an id and a message; and what came while it took nothing."""
        self.takes = True

    @property
    def environment(self):
        """Of each node."""
        return {
            "CASTAWAY_WEBHOOKS__URL": f"http://127.0.0.1:{self.port}/hook",
            "CASTAWAY_WEBHOOKS__SECRETS": f"whsec_{base64.b64encode(KEY).decode()}",
        }

    async def start(self):
        app = aiohttp.web.Application()
        app.router.add_post("/hook", self._answer)
        self.runner = aiohttp.web.AppRunner(app)
        await self.runner.setup()
        await aiohttp.web.TCPSite(self.runner, "127.0.0.1", self.port).start()

    async def stop(self):
        await self.runner.cleanup()

    async def _answer(self, request):
        body, identity = await request.read(), request.headers["webhook-id"]
        content = b".".join([identity.encode(), request.headers["webhook-timestamp"].encode(), body])
        expected = "v1," + base64.b64encode(hmac.new(KEY, content, hashlib.sha256).digest()).decode()
        taken = self.told if self.takes and request.headers["webhook-signature"] == expected else self.refused
        taken.append((identity, json.loads(body)))
        return aiohttp.web.Response(status=204 if taken is self.told else 503)

    def about(self, subject):
        """What was told about a livestream or a user: each id once, in the order of the events."""
        of = {identity: message for identity, message in self.told if subject in _subjects(message)}
        return sorted(of.values(), key=lambda message: message["timestamp"])

    def kinds(self, subject):
        """The types of that. A silence on a slow machine is no mistake: it is looked at by a test of its own."""
        return [kind for message in self.about(subject) if (kind := message["type"].partition(".")[2]) != "silent"]

    async def tells(self, subject, *kinds, seconds=8):
        """Waits until exactly these were told; gives the latest."""
        await until(
            lambda: self.kinds(subject) == list(kinds),
            lambda: f"{kinds} of {subject} were told; these were: {self.about(subject)}",
            seconds,
        )
        return self.about(subject)[-1]["data"]

    def check(self, subject):
        """An id is one message, and each node tells in the order of the events."""
        firsts, latest = {}, {}
        for identity, message in self.told:
            if subject not in _subjects(message):
                continue
            first = firsts.setdefault(identity, message)
            assert first["type"] == message["type"], f"{identity} is two messages"
            if first is message:
                node = message["data"]["node"].rpartition("-")[0]
                assert latest.get(node, "") <= message["timestamp"], f"{node} told {message} too late"
                latest[node] = message["timestamp"]


def _subjects(message):
    return message["data"].get("livestream"), message["data"].get("user")
