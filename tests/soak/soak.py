"""The soak: see tests/soak/run. Ends with `soak: N passed, M failed`; its exit code is 1 if anything failed."""

import asyncio
import logging
import os
import random
import resource
import sys
import time

from gauges import held, more
from idlers import still_open
from rig.waiting import until
from verdict import violations
from world import CONNECTIONS, World

SEED = int(os.environ["CASTAWAY_SEED"])
SECONDS = float(os.environ.get("CASTAWAY_SOAK_SECONDS", 70))
WARM_UP = 20
STREAMERS, LISTENERS = 3, 200
REST = 35
"""Seconds in which the daemon must be as it was: longer than each of its timeouts here."""
SHOWN = 25


class Results:
    """What is promised, and what was seen instead."""

    def __init__(self):
        self.passed = self.failed = 0

    def say(self, promise, wrong):
        """One line for a promise that was kept, and some for one that was not."""
        wrong = list(wrong)
        self.passed += not wrong
        self.failed += bool(wrong)
        print(f"{'FAILED' if wrong else 'ok'}: {promise}", flush=True)
        for line in wrong[:SHOWN]:
            print(f"    {line}")
        if len(wrong) > SHOWN:
            print(f"    … {len(wrong)} in all")


async def at_rest(world, before=None):
    """What the daemon holds once nobody is there; with `before`, as soon as it is no more than that."""
    if before is None:
        await asyncio.sleep(REST - 20)
        seen = [await held(world.server, world.google) for _ in range(5)]
        return min(seen, key=lambda it: it.descriptors)
    seen = []

    async def back():
        seen.append(await held(world.server, world.google))
        return not more(before, seen[-1])

    try:
        await until(back, "as before", REST)
    except AssertionError:
        pass
    return seen[-1]


async def slots(world):
    """As many connections as one address may have, and not one more."""
    made, wrong = [], []
    try:
        for _ in range(CONNECTIONS + 1):
            made.append(await asyncio.open_connection("127.0.0.1", world.server.port))
        closed = []

        async def refused():
            closed[:] = [reader for reader, _ in made if reader.at_eof() or reader.exception()]
            return closed

        try:
            await until(refused, "the last is refused", 5)
        except AssertionError:
            wrong.append(f"{CONNECTIONS + 1} connections from one address, and none is refused")
        await asyncio.sleep(0.5)
        await refused()
        if len(closed) > 1:
            wrong.append(f"{len(closed)} of {CONNECTIONS + 1} connections are refused, one should be")
    finally:
        for _, writer in made:
            writer.transport.abort()
    return wrong


async def round_and_rest(world, results, name, seconds, before):
    """One round with its promises; gives what the daemon holds after it."""
    calm, shows, idle = await world.round(name, seconds, STREAMERS, LISTENERS)
    results.say(f"{name}: everybody is back and hears the last clip once all links are whole", calm)
    late, world.late = world.late, 0
    lines = [f"{show.id} {line}" for show in shows for line in violations(show.history, late)]
    for kind, promise in PROMISES.items():
        results.say(f"{name}: {promise}", [line for line in lines if line.split(" ", 1)[1].startswith(kind)])
    kinds = tuple(kind for kinds in PROMISES for kind in kinds)
    assert all(line.split(" ", 1)[1].startswith(kinds) for line in lines), lines
    results.say(f"{name}: every byte that came was right, and nothing came that must not", world.wrong)
    world.wrong.clear()
    after = await at_rest(world, before)
    results.say(f"{name}: unused connections were ended by the daemon", still_open(idle))
    for one in idle:
        one.close()
    flags = [show.id for show in shows if (await world.google.document(show.id))["streamerConnected"]]
    results.say(f"{name}: no flag is true when nobody streams", flags)
    count = {kind: sum(type(event).__name__ == kind for show in shows for event in show.history) for kind in COUNTED}
    print(f"{name}: {count}, this side {late:.2f} s late at most; {after}", flush=True)
    return after


COUNTED = ("LetIn", "Acked", "Joined", "Heard")
PROMISES = {
    ("lost",): "every acknowledged clip was heard by everybody who was there",
    ("twice", "out of order", "two holders", "never sent", "before it was sent"): "clips were heard once and in order",
    ("sequence", "acknowledged twice"): "sequences rise",
    ("unanswered",): "everything was answered",
    ("refused", "ended"): "nobody was sent away from a livestream that was on",
    ("closed",): "no connection was closed without a reason",
}


async def soak(dice):
    results, world = Results(), await World.start(dice)
    try:
        before = await round_and_rest(world, results, "warm-up", WARM_UP, None)
        world.let_go()
        after = await round_and_rest(world, results, "soak", SECONDS, before)
        wrong = more(before, after)
        for subject, name in (("memory", "memory is"), ("descriptors", "descriptors are"), ("gauge", "all gauges are")):
            results.say(f"{name} back where it was" if subject == "memory" else f"{name} back", [it for it in wrong if it.startswith(subject)])
        world.let_go()
        results.say("all slots of an address are free again", await slots(world))
        results.say("the log has no error", world.complaints_of_the_log())
    finally:
        if results.failed:
            world.write(os.environ.get("CASTAWAY_SOAK_LOG"))
        code = await world.stop()
    results.say("it stops when told", [f"exit code {code}"] * (code != 0))
    return results


def main():
    # Libraries say what is wrong with connections that were cut on purpose.
    logging.disable(logging.CRITICAL)
    # Four descriptors a person, and those that are held.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    began = time.monotonic()
    results = asyncio.run(soak(random.Random(SEED)))
    print(f"{time.monotonic() - began:.0f} s")
    if results.failed:
        print(f"CASTAWAY_SEED={SEED} repeats this schedule")
    print(f"soak: {results.passed} passed, {results.failed} failed")
    return bool(results.failed)


if __name__ == "__main__":
    sys.exit(main())
