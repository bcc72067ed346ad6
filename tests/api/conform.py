"""Starts the daemon with a livestream on air, and Schemathesis against its API."""

import asyncio
import os
import sys
import tempfile
from contextlib import AsyncExitStack

from harness.google import Google
from harness.raw import raw
from harness.server import Server

TOKEN = "0123456789abcdef0123456789abcdef"
CHECKS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
]
ARGUMENTS = [
    "--phases=examples,coverage,fuzzing",
    f"--checks={','.join(CHECKS)}",
    "--max-examples=50",
    "--generation-deterministic",
    "--warnings=off",
    "--no-color",
    "--workers=1",
]


async def on_air(stack, google, server):
    """A livestream with a streamer and a listener."""
    await google.livestream("show", "ada")
    for role, user in ("streamer", "ada"), ("listener", "bob"):
        socket = await stack.enter_async_context(raw(server.url))
        await socket.join(role, await google.token(user), "show")
        # It answers pings, until the API disconnects it.
        task = asyncio.create_task(socket.closed())
        stack.callback(task.cancel)


async def conform(schemathesis, arguments):
    google = await Google.start()
    # The socket's directory: what a request may hit must not be the machine's own.
    with tempfile.TemporaryDirectory() as runtime:
        environment = {"CASTAWAY_API__TOKEN": f"ops:{TOKEN}", "RUNTIME_DIRECTORY": runtime}
        server = await Server.start(google, environment)
        try:
            async with AsyncExitStack() as stack:
                await on_air(stack, google, server)
                header = f"--header=Authorization: Bearer {TOKEN}"
                url = f"{server.health}/api/v1/openapi.json"
                command = [schemathesis, "run", url, header, *ARGUMENTS, *arguments]
                with tempfile.TemporaryDirectory() as place:
                    tool = await asyncio.create_subprocess_exec(*command, cwd=place)
                    code = await tool.wait()
                failed = await server.metric("castaway_api_requests_total", 'outcome="failed"')
                served = await server.metric("castaway_api_requests_total")
                alive, _ = await server.get("/healthz")
        finally:
            log = server.log
            await server.stop()
            await google.stop()
    if "panicked" in log:
        print(log)
    passed = code == 0 and failed == 0 and alive == 200 and "panicked" not in log and served > 300
    print(f"api: {int(served)} requests, {int(failed)} answered with 5xx")
    print(f"api: {int(passed)} passed, {int(not passed)} failed, 0 skipped")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(conform(os.path.abspath(sys.argv[1]), sys.argv[2:])))
