"""A livestream on one node is heard on all: every clip once, in order, byte for byte; and only where somebody listens."""

import asyncio
import time

from rig.cluster import all_hear
from rig.nodes import HEARTBEAT
from rig.people import SERVER, Listener, Streamer

from harness.waiting import throughout, until

# No link is lost here: a client that waits for a busy machine's CPU keeps its connection.
ENVIRONMENT = {"CASTAWAY_SERVER__PING_TIMEOUT": "5s"}
SIZES = (100, 1_000, 30_000, 64_000, 200_000, 64_000, 2_000)
CLIPS = 60


async def test_clip_reaches_all_listeners_once_in_order(cluster):
    livestream = await cluster.livestream()
    streamer = await cluster.streamer(livestream, cluster.nodes[0])
    listeners = await cluster.listeners(livestream, each=2)
    for number in range(CLIPS):
        streamer.say(SIZES[number % len(SIZES)])
    await asyncio.gather(streamer.answered(CLIPS), all_hear(listeners, CLIPS))
    assert list(streamer.acked) == list(range(1, CLIPS + 1)), "each is acknowledged, in order"
    first = streamer.acked[1].sequence
    assert [answer.sequence for answer in streamer.acked.values()] == list(range(first, first + CLIPS))
    for listener in listeners:
        assert listener.numbers() == list(range(1, CLIPS + 1)), listener.node.name
    livestream.check()


async def test_burst_after_a_takeover_is_heard_elsewhere(cluster):
    livestream = await cluster.livestream()
    first = await cluster.streamer(livestream, cluster.nodes[0])
    listener = await cluster.listener(livestream, cluster.nodes[1])
    listener.notices = lambda *_: None
    assert (await first.visits[0].upload(b"the first"))["ok"]
    await until(lambda: listener.said("audio"), "the first clip is heard")
    # Uploads that wait for the admission are published at once, and are more than the history holds.
    await cluster.google.trouble("read", "slow", ms=500, times=1)
    second = Streamer(cluster.google, livestream, livestream.user, [cluster.nodes[0]])
    cluster.people.append(second)
    admission = asyncio.create_task(second.come())
    await until(lambda: second.visits and second.visits[0].socket.connected, "it is connected")
    clips = [b"clip %d" % number for number in range(CLIPS)]
    answers = await asyncio.gather(*(second.visits[0].upload(clip) for clip in clips))
    await admission
    assert all(answer["ok"] for answer in answers), answers
    await until(lambda: listener.said("audio")[-1] == clips[-1], "the last clip is heard")
    assert listener.said("audio") == [b"the first", *clips]


async def test_an_empty_clip_is_refused_everywhere(cluster):
    livestream = await cluster.livestream()
    streamer = await cluster.streamer(livestream, cluster.nodes[0])
    far = await cluster.listener(livestream, cluster.nodes[1])
    far.notices = lambda *_: None
    assert await streamer.visits[0].upload(b"") == {"ok": False, "error": "Upload must be a single binary clip."}
    assert (await streamer.visits[0].upload(b"a clip"))["ok"]
    await until(lambda: far.said("audio") == [b"a clip"], "the next clip is heard")


async def test_an_ack_counts_the_listeners_of_all_nodes(cluster):
    livestream = await cluster.livestream()
    streamer = await cluster.streamer(livestream, cluster.nodes[1])
    listeners = await cluster.listeners(livestream, each=2)

    async def counts(expected):
        return (await streamer.say_and_wait()).listeners == expected

    await until(lambda: counts(6), "six listeners are counted")
    await listeners[0].leave()
    await listeners[-1].leave()
    await until(lambda: counts(4), "four are left")


async def test_state_counts_the_listeners_of_all_nodes(cluster):
    livestream = await cluster.livestream()
    streamer = await cluster.streamer(livestream, cluster.nodes[0])
    people = [streamer, *await cluster.listeners(livestream, each=2)]
    for person in people:
        await until(lambda: person.said("state"), "a state is said at once", 1)
        assert set(person.states()) <= {"live"}
        await until(lambda: person.said("state")[-1] == {"state": "live", "listeners": 6}, f"{person} knows of six")


async def test_late_joiner_hears_the_latest_clip_at_once(cluster):
    livestream = await cluster.livestream()
    streamer = await cluster.streamer(livestream, cluster.nodes[0])
    for _ in range(3):
        await streamer.say_and_wait(40_000)
    for node in cluster.nodes:
        late = await cluster.listener(livestream, node)
        await late.hears_number(3, seconds=1)
        assert late.numbers() == [3]
    livestream.check()


async def test_a_late_joiner_misses_nothing_while_clips_come(cluster):
    livestream = await cluster.livestream()
    streamer = await cluster.streamer(livestream, cluster.nodes[0])
    await streamer.say_and_wait()

    async def talk():
        for _ in range(80):
            await streamer.say_and_wait()

    talking = asyncio.create_task(talk())
    late = []
    while not talking.done():
        late.append(await cluster.listener(livestream, cluster.nodes[1 + len(late) % 2]))
    await talking
    await all_hear(late, 81)
    for listener in late:
        heard = listener.numbers()
        assert heard == list(range(heard[0], 82)), heard
    livestream.check()


async def test_livestreams_on_different_nodes_never_mix(cluster):
    livestreams = [await cluster.livestream() for _ in cluster.nodes]
    streamers = [await cluster.streamer(livestream, node) for livestream, node in zip(livestreams, cluster.nodes)]
    listeners = [await cluster.listeners(livestream) for livestream in livestreams]
    for _ in range(20):
        for streamer in streamers:
            streamer.say()
    for livestream, streamer, group in zip(livestreams, streamers, listeners):
        await streamer.answered(20)
        # A listener fails by itself when it hears what is not of its livestream.
        await all_hear(group, 20)
        livestream.check()


async def test_a_node_where_nobody_listens_takes_no_part(cluster):
    here, there, elsewhere = cluster.nodes
    livestream = await cluster.livestream()
    streamer = await cluster.streamer(livestream, here)
    await cluster.listener(livestream, there)
    await streamer.say_and_wait()
    before = await elsewhere.metric("castaway_cluster_clips_received_total")
    with_one = await cluster.redis.subscribers(livestream.id)
    for _ in range(10):
        await streamer.say_and_wait()
    assert await elsewhere.metric("castaway_cluster_clips_received_total") == before
    late = await cluster.listener(livestream, elsewhere)
    await late.hears_number(11)
    number = (await streamer.say_and_wait()).stamp.number
    await late.hears_number(number)
    assert await elsewhere.metric("castaway_cluster_clips_received_total") >= before + 1

    async def more():
        return sum((await cluster.redis.subscribers(livestream.id)).values()) == sum(with_one.values()) + 1

    async def as_before():
        return await cluster.redis.subscribers(livestream.id) == with_one

    await until(more, "one more node is subscribed")
    await late.leave()
    await until(as_before, "it lets go after a while", 10)
    await streamer.say_and_wait()
    livestream.check()


async def test_streamer_who_leaves_ends_the_livestream_everywhere(cluster):
    livestream = await cluster.livestream()
    streamer = await cluster.streamer(livestream, cluster.nodes[0])
    listeners = await cluster.listeners(livestream)
    await streamer.say_and_wait()
    await cluster.flagged(livestream, True)
    began = time.monotonic()
    await streamer.leave()
    for listener in listeners:
        await until(listener.told.is_set, f"{listener} at {listener.node.name} is told that it is over", 3)
    assert time.monotonic() - began < 1 + HEARTBEAT * 2
    assert all("ended" in listener.states() for listener in listeners)
    await cluster.flagged(livestream, False)
    for node in cluster.nodes:
        late = Listener(cluster.google, livestream, "late", [node])
        cluster.people.append(late)
        late.task = asyncio.create_task(late._live())
        await until(late.told.is_set, "a late listener is refused")
        assert late.said("error") == [f"Livestream {livestream.id} has not started."]


async def test_livestream_begins_elsewhere_without_the_earlier_clips(cluster):
    livestream = await cluster.livestream()
    streamer = await cluster.streamer(livestream, cluster.nodes[0])
    (listener,) = await cluster.listeners(livestream, cluster.nodes[1])
    await streamer.say_and_wait()
    await listener.hears_number(1)
    await streamer.leave()
    await until(listener.told.is_set, "it is over")
    again = await cluster.streamer(livestream, cluster.nodes[2])
    again.numbers = iter(range(100, 200))
    listeners = await cluster.listeners(livestream)
    await again.say_and_wait()
    await all_hear(listeners, 100)
    assert all(listener.numbers() == [100] for listener in listeners)
    await cluster.flagged(livestream, True)


async def test_a_metric_counts_the_nodes(cluster):
    for node in cluster.nodes:
        await until(lambda: _is(node, "castaway_cluster_nodes", 3), f"{node.name} knows of three nodes")


async def _is(node, name, value):
    return await node.metric(name) == value


async def test_listeners_are_not_disturbed_while_nothing_happens(cluster):
    livestream = await cluster.livestream()
    streamer = await cluster.streamer(livestream, cluster.nodes[0])
    listeners = await cluster.listeners(livestream)
    await streamer.say_and_wait()
    await all_hear(listeners, 1)
    quiet = [streamer, *listeners]
    # Longer than a lease lasts.
    await throughout(lambda: all(len(person.visits) == 1 for person in quiet), "everybody stays", 5)
    assert all(listener.numbers() == [1] for listener in listeners), "a look at Redis repeats no clip"
    assert not any(SERVER in person.said("disconnect") for person in quiet)
    assert all(set(person.states()) == {"live"} for person in quiet)
