"""The operator's API of a node."""

import aiohttp

TOKEN = "0123456789abcdef0123456789abcdef"
ENVIRONMENT = {"CASTAWAY_API__TOKEN": f"ops:{TOKEN}"}


async def ask(node, method, path, body=None):
    """The status, and the answer as JSON."""
    url, headers = f"{node.server.health}/api/v1{path}", {"authorization": f"Bearer {TOKEN}"}
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, url, json=body, headers=headers) as answer,
    ):
        return answer.status, await answer.json(content_type=None) if await answer.read() else None
