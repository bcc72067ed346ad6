"""One Redis of each kind for the run, and three nodes for each file."""

import pytest
import pytest_asyncio
from rig.cluster import Cluster
from rig.redis import Redis, Sharded

from harness.report import pytest_runtest_makereport  # noqa: F401 (a hook)

KINDS = {kind.kind: kind for kind in (Redis, Sharded)}


@pytest_asyncio.fixture(scope="session")
async def instances():
    """Those that were started, by kind."""
    started = {}
    yield started
    for redis in started.values():
        await redis.stop()


@pytest_asyncio.fixture(scope="module", params=KINDS)
async def redis(request, instances):
    """Redis alone, then Redis in shards."""
    if request.param not in instances:
        instances[request.param] = KINDS[request.param]()
        await instances[request.param].start()
    return instances[request.param]


@pytest_asyncio.fixture(scope="module")
async def nodes(request, redis):
    """The file's cluster; its `ENVIRONMENT` wins over the short times."""
    cluster = await Cluster.start(redis, getattr(request.module, "ENVIRONMENT", None))
    yield cluster
    await cluster.stop()


@pytest_asyncio.fixture
async def cluster(request, nodes):
    """The file's cluster, swept after the test; what its nodes said is shown where the test failed."""
    yield nodes
    if getattr(request.node, "broken", False):
        nodes.print_logs()
    await nodes.sweep()


def pytest_collection_modifyitems(items):
    """Several run beside each other: what shares nodes stays together."""
    for item in items:
        params = item.callspec.params if hasattr(item, "callspec") else {}
        group = [item.path.stem, params.get("redis", ""), params.get("bucket", ""), str(params.get("seed", ""))]
        item.add_marker(pytest.mark.xdist_group(" ".join(group)))
    # The longest first.
    longest = ["test_partitions", "test_recordings"]
    items.sort(key=lambda item: [*longest, item.path.stem].index(item.path.stem))
