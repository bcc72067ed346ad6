"""A world for each test file, and each transport in turn."""

import os

import pytest
import pytest_asyncio

from harness.client import TRANSPORTS
from harness.cluster import ABOUT_ONE_PROCESS
from harness.google import Google
from harness.report import pytest_runtest_makereport  # noqa: F401 (a hook)
from harness.world import World

WANTED = [os.environ["CASTAWAY_TRANSPORT"]] if os.environ.get("CASTAWAY_TRANSPORT") else list(TRANSPORTS)


@pytest_asyncio.fixture(scope="session")
async def google():
    """One double for all files of a process: to make its keys takes long."""
    google = await Google.start()
    yield google
    await google.stop()


@pytest_asyncio.fixture(scope="module")
async def daemon(request, google):
    """The file's world; its `ENVIRONMENT` wins over the short times."""
    world = await World.start(google, getattr(request.module, "ENVIRONMENT", None))
    yield world
    await world.stop()


async def swept(request, daemon):
    """Ends a test; one that failed says all that is known."""
    try:
        if getattr(request.node, "broken", False):
            await daemon.explain()
    finally:
        await daemon.sweep()


@pytest_asyncio.fixture
async def world(request, daemon):
    """The file's world over WebSocket, swept after the test."""
    daemon.transports = TRANSPORTS["websocket"]
    yield daemon
    await swept(request, daemon)


@pytest_asyncio.fixture(params=WANTED, name="anyhow")
async def every_transport(request, daemon):
    """The file's world over each transport that the run is about, swept after the test."""
    daemon.transports = TRANSPORTS[request.param]
    yield daemon
    await swept(request, daemon)


def pytest_collection_modifyitems(items):
    """What is about one process is skipped on a cluster, and says why."""
    for item in items:
        if reason := ABOUT_ONE_PROCESS.get(item.originalname):
            item.add_marker(pytest.mark.skip(reason=reason))
