"""One recording of a livestream, whatever happens to it: three nodes with one bucket, real sound, and all that may go
wrong, at places that the seed draws; then a node is killed while it joins the clips, and another one finishes."""

import asyncio
import os
import random
from types import SimpleNamespace

import pytest
import pytest_asyncio
import sound
from rig.buckets import Amazon, Directory
from rig.cluster import Cluster
from rig.operator import ENVIRONMENT as OPERATOR
from rig.operator import ask
from rig.recorded import manifests, violations
from rig.redis import Redis
from rig.shows import Faults, Show
from rig.strict import complaints, has_mp4box
from rig.webhooks import Receiver

from harness.waiting import throughout, until

COUNT = 200
FRAMES = {"m4a": 7, "mp3": 6}
"""Of a clip, a fifth of a second with the encoder's own."""
BUCKETS = {bucket.kind: bucket for bucket in (Directory, Amazon)}
ENVIRONMENT = {
    **OPERATOR,
    "CASTAWAY_RECORDING__TIMEOUT": "10s",
    "CASTAWAY_SERVER__PING_TIMEOUT": "5s",
}

pytestmark = pytest.mark.timeout(300)


def seeds():
    """`CASTAWAY_SEED` alone, or one for each 20 that `CASTAWAY_SEEDS` says: each is a livestream in real time."""
    one = os.environ.get("CASTAWAY_SEED")
    return [int(one)] if one else range(1, 1 + max(1, int(os.environ.get("CASTAWAY_SEEDS", "20")) // 20))


@pytest_asyncio.fixture(scope="module")
async def redis(instances):
    """Redis alone."""
    if "recordings" not in instances:
        instances["recordings"] = Redis()
        await instances["recordings"].start()
    return instances["recordings"]


@pytest_asyncio.fixture
async def stage(redis, bucket, request):
    """A bucket, three nodes that record to it, and a receiver of webhooks."""
    stage = SimpleNamespace(bucket=BUCKETS[bucket](), receiver=Receiver())
    await stage.bucket.start()
    await stage.receiver.start()
    environment = {**ENVIRONMENT, **stage.bucket.environment, **stage.receiver.environment}
    stage.cluster = await Cluster.start(redis, environment)
    yield stage
    if getattr(request.node, "broken", False):
        stage.cluster.print_logs(80)
    await stage.cluster.sweep()
    await stage.cluster.stop()
    await stage.receiver.stop()
    await stage.bucket.stop()


@pytest.mark.parametrize("bucket", BUCKETS)
@pytest.mark.parametrize("seed", seeds())
async def test_livestream_with_every_fault_is_one_recording(stage, bucket, seed, tmp_path):
    print(f"CASTAWAY_SEED={seed}")
    cluster, receiver = stage.cluster, stage.receiver
    kind = ["m4a", "mp3"][(list(BUCKETS).index(bucket) + seed + 1) % 2]
    files, expected = await asyncio.to_thread(sound.make_many, tmp_path, kind, FRAMES[kind], COUNT)
    livestream = await cluster.livestream()
    show = Show(cluster, livestream, files, len(expected) / 2 / 44100 / COUNT)
    dice = random.Random(f"{seed} {bucket}")
    faults = Faults(cluster, stage.bucket, show, dice)
    await show.come()
    await show.perform(faults.drawn(COUNT))
    await faults.mended()
    await all_brought(cluster)
    await killed_while_finishing(stage, show, dice)
    id_ = await finished(stage, livestream)
    objects = await stage.bucket.objects()
    found = list(violations(objects, show, faults.all, expected))
    ((directory, manifest),) = manifests(objects).items()
    file = tmp_path / manifest["files"][0]["name"]
    file.write_bytes(objects[f"{directory}/{file.name}"])
    found += complaints(file)
    assert not found, "\n".join(found[:20])
    said = {key: len(manifest[key]) for key in ("clips", "left_out", "gaps")}
    print(f"{file.stat().st_size} bytes, {manifest['seconds']} s, {said}")
    await finished_by_all(stage, id_, objects)
    await throughout(lambda: len(ready(receiver, livestream)) == 1, "it is told once", 1)


async def all_brought(cluster):
    """No clip waits for the bucket."""

    async def none_waits():
        waiting = await asyncio.gather(*(node.metric("castaway_recording_waiting") for node in cluster.nodes))
        return not any(waiting)

    await until(none_waits, "all clips are in the bucket", 40)


async def killed_while_finishing(stage, show, dice):
    """The livestream ends. Its node is killed when it has written half a file; another one finishes."""
    here = show.device.node
    there, third = dice.sample([node for node in stage.cluster.nodes if node is not here], 2)
    is_asked = dice.random() < 0.5
    if not is_asked:
        await third.stop()
    joining = asyncio.create_task(stage.bucket.joining())
    await show.device.leave()
    try:
        await asyncio.wait_for(joining, 20)
    except TimeoutError:
        raise AssertionError(f"nobody joins {sorted(await stage.bucket.objects())}") from None
    await here.kill()
    await stage.bucket.goes_on()
    objects = await stage.bucket.objects()
    assert not manifests(objects), "it was finished before it was killed"
    (id_,) = [name.removeprefix("__pending__/") for name in objects if name.startswith("__pending__/")]
    print(f"{here.name} was killed while it joined; {f'{there.name} is asked' if is_asked else f'{third.name} starts'}")
    if is_asked:
        assert (await ask(there, "POST", f"/recordings/{id_}/finish"))[0] == 204
    else:
        await third.start()


async def finished(stage, livestream):
    """The recording's id, once it was told that it is ready, and every node runs."""
    await until(lambda: ready(stage.receiver, livestream), "the recording is ready", 30)
    await stage.cluster.mend()
    ids = set()
    for node in stage.cluster.nodes:
        status, answer = await ask(node, "GET", f"/recordings?livestream={livestream.id}")
        assert status == 200, answer
        ids |= {(it["id"], it["state"]) for it in answer["recordings"]}
    ((id_, state),) = ids
    assert (id_, state) == (ready(stage.receiver, livestream)[0]["recording"], "finished")
    return id_


def ready(receiver, livestream):
    """What was told of the livestream's recordings, each message once."""
    return [it["data"] for it in receiver.about(livestream.id) if it["type"] == "recording.ready"]


async def finished_by_all(stage, id_, objects):
    """All nodes finish it at once, as if none had: each time there are the same bytes."""
    nodes = stage.cluster.nodes
    done = "castaway_recordings_finished_total"
    key = id_.split(".")[1]
    made = [name for name in objects if name.startswith(f"{key}/") and ("/recording." in name or "/manifest" in name)]
    made += [name for name in objects if "/announced/" in name]
    errors = [await node.metric("castaway_recording_errors_total", "finish") for node in nodes]
    # Moto takes its time over each of the thousand requests.
    for _ in range(3 if stage.bucket.kind == "directory" else 1):
        for name in made:
            await stage.bucket.delete(name)
        before = [await node.metric(done) for node in nodes]
        asked = await asyncio.gather(*(ask(node, "POST", f"/recordings/{id_}/finish") for node in nodes))
        assert [status for status, _ in asked] == [204] * len(nodes), asked

        async def all_have(before=before):
            after = [await node.metric(done) for node in nodes]
            return all(one > other for one, other in zip(after, before, strict=True))

        await until(all_have, "each node has finished it", 60)

        async def same():
            return await stage.bucket.objects() == objects

        await until(same, "the bytes are the same", 30)
    assert errors == [await node.metric("castaway_recording_errors_total", "finish") for node in nodes]


@pytest.mark.skipif(not has_mp4box(), reason="MP4Box cannot be had: the parser of its authors alone reads recordings")
def test_mp4box_finds_what_is_wrong(tmp_path):
    (clip, *_), _ = sound.make_many(tmp_path, "m4a", 10, 1)
    at = clip.index(b"stsz")
    # A frame that is longer than it is.
    (tmp_path / "bad.m4a").write_bytes(clip[: at + 18] + b"\x07" + clip[at + 19 :])
    assert any(line.startswith("MP4Box ") for line in complaints(tmp_path / "bad.m4a"))
