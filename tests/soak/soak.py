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
from verdict import violations
from world import CONNECTIONS, World

from harness.waiting import until

SEED = int(os.environ["CASTAWAY_SEED"])
SECONDS = float(os.environ.get("CASTAWAY_SOAK_SECONDS", 70))
WARM_UP = 20
STREAMERS, LISTENERS = 3, 200
REST, FIRST_REST = 35, 15
"""Seconds in which the daemon must be as it was, longer than each of its timeouts here; and after the warm-up round."""
SHOWN = 25
PROMISES = {
    ("lost",): "every acknowledged clip was heard by everybody who was there",
    ("twice", "out of order", "two owners", "never sent", "before it was sent"): "clips were heard once and in order",
    ("sequence", "acknowledged twice"): "sequences rise",
    ("unanswered",): "everything was answered",
    ("refused", "ended"): "nobody was sent away from a livestream that was on",
    ("told",): "no error was told without a reason",
    ("closed",): "no connection was closed without a reason",
}
"""By the first words of a violation."""
HELD = {"memory": "memory is", "descriptors": "descriptors are", "gauge": "all gauges are"}
COUNTED = ("LetIn", "Acked", "Joined", "Heard")


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

    def judge(self, name, livestreams, late):
        """What the histories of a round say."""
        lines = [(livestream.id, line) for livestream in livestreams for line in violations(livestream.history, late)]
        for kinds, promise in PROMISES.items():
            self.say(
                f"{name}: {promise}", [f"{livestream} {line}" for livestream, line in lines if line.startswith(kinds)]
            )
        known = tuple(kind for kinds in PROMISES for kind in kinds)
        assert all(line.startswith(known) for _, line in lines), lines


async def at_rest(world, before=None):
    """What the daemon holds once nobody is there; with `before`, as soon as it is no more than that."""
    if before is None:
        await asyncio.sleep(FIRST_REST)
        seen = [await held(world.server, world.google) for _ in range(5)]
        return min(seen, key=lambda it: it.descriptors)
    seen = []

    async def back():
        seen.append(await held(world.server, world.google))
        await asyncio.sleep(0.2)
        return not more(before, seen[-1])

    try:
        await until(back, "as before", REST)
    except AssertionError:
        pass
    return seen[-1]


async def slots(world):
    """As many connections as one address may have, and not one more."""
    made, wrong = [], []

    def refused():
        return sum(reader.at_eof() or reader.exception() is not None for reader, _ in made)

    try:
        for _ in range(CONNECTIONS + 1):
            made.append(await asyncio.open_connection("127.0.0.1", world.server.port))
        try:
            await until(refused, "the last is refused", 5)
        except AssertionError:
            wrong.append(f"{CONNECTIONS + 1} connections from one address, and none is refused")
        await asyncio.sleep(0.5)
        if refused() > 1:
            wrong.append(f"{refused()} of {CONNECTIONS + 1} connections are refused, one should be")
    finally:
        for _, writer in made:
            writer.transport.abort()
    return wrong


async def round_and_rest(world, results, name, seconds, before=None):
    """One round with its promises; gives what the daemon holds after it."""
    calm, livestreams, idle = await world.round(name, seconds, STREAMERS, LISTENERS)
    late, world.late = world.late, 0
    results.say(f"{name}: everybody is back and hears the last clip once all links are whole", calm)
    results.judge(name, livestreams, late)
    results.say(f"{name}: every byte that came was right, and nothing came that must not", world.wrong)
    world.wrong.clear()
    after = await at_rest(world, before)
    results.say(f"{name}: unused connections were ended by the daemon", still_open(idle))
    for one in idle:
        one.close()
    documents = [(livestream.id, await world.google.document(livestream.id)) for livestream in livestreams]
    flags = [livestream for livestream, document in documents if document["streamerConnected"]]
    results.say(f"{name}: no flag is true when nobody streams", flags)
    kinds = [type(event).__name__ for livestream in livestreams for event in livestream.history]
    counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in COUNTED)
    print(f"{name}: {counts}; this side was {late:.2f} s late at most; {after}", flush=True)
    return after


async def soak(dice):
    results, world = Results(), await World.start(dice)
    try:
        before = await round_and_rest(world, results, "warm-up", WARM_UP)
        world.let_go()
        after = await round_and_rest(world, results, "soak", SECONDS, before)
        wrong = more(before, after)
        for subject, words in HELD.items():
            results.say(f"{words} as before", [line for line in wrong if line.startswith(subject)])
        world.let_go()
        results.say("all slots of an address are free again", await slots(world))
        results.say("the log has no error", world.complaints_of_the_log())
    finally:
        if results.failed:
            world.write(os.environ.get("CASTAWAY_SOAK_LOG"))
        code = await world.stop()
    results.say("the daemon stops when told", [f"exit code {code}"] * (code != 0))
    return results


def main():
    # Libraries say what is wrong with connections that were cut on purpose.
    logging.disable(logging.CRITICAL)
    # Four descriptors a person, and those that are held.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    began = time.monotonic()
    failed = True
    try:
        results = asyncio.run(soak(random.Random(SEED)))
        failed = bool(results.failed)
    finally:
        print(f"{time.monotonic() - began:.0f} s")
        if failed:
            print(f"CASTAWAY_SEED={SEED} repeats this schedule")
    print(f"soak: {results.passed} passed, {results.failed} failed")
    return failed


if __name__ == "__main__":
    sys.exit(main())
