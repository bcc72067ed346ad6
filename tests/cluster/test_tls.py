"""Over TLS, with a password and a user, all from the configuration; and no secret is ever printed."""

import pytest_asyncio
from rig.cluster import Cluster, all_hear
from rig.redis import ESCAPED, PASSWORD, Redis, Tls

from harness.waiting import throughout, until


@pytest_asyncio.fixture(scope="module")
async def secured():
    """Redis behind TLS, with an authority of its own."""
    tls = Tls()
    redis = Redis(tls)
    try:
        await redis.start()
        yield redis
    finally:
        await redis.stop()
        tls.remove()


async def test_livestream_over_tls_prints_no_secret(secured):
    trust = {"SSL_CERT_FILE": str(secured.tls.authority), "CASTAWAY_LOG__LEVEL": "trace"}
    cluster = await Cluster.start(secured, trust)
    try:
        livestream = await cluster.livestream()
        streamer = await cluster.streamer(livestream, cluster.nodes[0])
        listeners = await cluster.listeners(livestream)
        for _ in range(10):
            last = await streamer.say_and_wait(50_000)
        await all_hear(listeners, last.stamp.number)
        livestream.check()
        secured.kill()
        await until(cluster.nodes[0].degraded, "it is degraded")
        await secured.heal()
        await cluster.sweep()
        for node in cluster.nodes:
            assert PASSWORD not in node.log and ESCAPED not in node.log
    finally:
        await cluster.stop()


async def test_redis_that_nobody_vouches_for_is_not_believed(secured):
    cluster = await Cluster.start(secured, {"SSL_CERT_FILE": str(secured.tls.authority)}, names="a")
    try:
        # The same node, without the authority.
        (node,) = cluster.nodes
        await node.kill()
        del node.environment["SSL_CERT_FILE"]
        await node.start()
        await until(node.degraded, "it has no Redis")
        await throughout(node.degraded, "it has no Redis", 2)
    finally:
        await cluster.stop()


async def test_a_wrong_password_is_redis_that_is_away(redis):
    cluster = await Cluster.start(redis, names="a")
    try:
        (node,) = cluster.nodes
        await node.kill()
        wrong = redis.url.replace(ESCAPED, "some-other-secret")
        node.environment["CASTAWAY_CLUSTER__URL"] = wrong
        await node.start()
        await until(node.degraded, "it has no Redis")
        assert "some-other-secret" not in node.log
    finally:
        await cluster.stop()
