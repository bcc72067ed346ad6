"""Google's double, a process: the keys, accounts, token grants and documents that the daemon is pointed at."""

import json
import signal

import aiohttp

from .children import Child
from .programs import program

UNTIL_HEALED = 100_000


class Google:
    """Made with `start`, and told what to do by its admin's door."""

    @classmethod
    async def start(cls):
        google = cls()
        google.child = await Child.start(program("CASTAWAY_GOOGLE_DOUBLE"))
        said = json.loads((await google.child.says(r"^\{.*\}$", 45))[0])
        google.admin, google.environment = said["admin"], said["environment"]
        google.session = aiohttp.ClientSession()
        return google

    async def _ask(self, method, path, body=None):
        async with self.session.request(method, self.admin + path, json=body) as answer:
            text = await answer.text()
            if answer.status == 404:
                return None
            assert answer.ok, f"{method} {path}: {answer.status} {text}"
            return json.loads(text) if text else None

    async def livestream(self, name, user):
        """Makes the document `livestreams/{name}`, owned by `user`."""
        await self._ask("PUT", f"/livestreams/{name}", {"artistId": user, "streamerConnected": False})

    async def token(self, user, kind="valid"):
        """An ID token: valid, expired, foreign (another project's) or forged (signed by another key) …"""
        return (await self._ask("POST", "/tokens", {"user": user, "kind": kind}))["token"]

    async def document(self, name):
        """The fields of `livestreams/{name}`, or None when there is no such document."""
        return await self._ask("GET", f"/livestreams/{name}")

    async def trouble(self, endpoint, fault, **how):
        """Until `heal`, calls of keys, lookup, token, read or write go wrong: status, closed, garbage, slow …"""
        await self._ask("POST", "/faults", {"endpoint": endpoint, "fault": fault, "times": UNTIL_HEALED, **how})

    async def heal(self):
        """All is well again."""
        await self._ask("DELETE", "/faults")

    async def calls(self):
        """How many calls each endpoint has had."""
        return await self._ask("GET", "/calls")

    async def stop(self):
        await self.session.close()
        await self.child.stop(signal.SIGKILL)
