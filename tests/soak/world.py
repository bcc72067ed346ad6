"""The daemon, Google's double, and everybody of one round."""

import asyncio
import itertools
import os
import random
import re
import time
from pathlib import Path

import schedule
from crowd import Listener, Streamer
from idlers import idlers
from links import Link
from rig.cluster import Livestream

from harness.google import Google
from harness.server import Server
from harness.waiting import until

GRACE, PING, PONG, STALL = 8, 2, 3, 4
LIBRARIES = ("/engineio/", "/socketio/", "/aiohttp/")
CHECKS, CHECK = 500, (20, 1200)
"""So many calls to Google take one of these milliseconds: links are lost in a check, and a later check ends earlier."""
CONNECTIONS = 900
"""From one address; all come from one."""
ENVIRONMENT = {
    "CASTAWAY_SERVER__PING_INTERVAL": f"{PING}s",
    "CASTAWAY_SERVER__PING_TIMEOUT": f"{PONG}s",
    "CASTAWAY_SERVER__SEND_BUFFER_BYTES": "32768",
    "CASTAWAY_SERVER__MAX_CONNECTIONS_PER_ADDRESS": str(CONNECTIONS),
    "CASTAWAY_LIVESTREAM__GRACE": f"{GRACE}s",
    "CASTAWAY_LISTENER__STALL_TIMEOUT": f"{STALL}s",
    "CASTAWAY_LISTENER__MAX_LAG": "12s",
    # Google answers late while everybody comes at once; that it is away is another test's business.
    "CASTAWAY_GOOGLE__REQUEST_TIMEOUT": "4500ms",
    # A connection without a request is not to outlast the rest.
    "CASTAWAY_SERVER__IDLE_TIMEOUT": "10s",
    # As long as it must be: what is remembered of the lost is not to count as a leak.
    "CASTAWAY_IDENTITY__RETURN_WINDOW": "10s",
}


class World:
    """One daemon for all rounds; each has its own people."""

    grace, detection = GRACE, PING + PONG

    @classmethod
    async def start(cls, dice):
        world = cls()
        world.dice, world.links, world.histories, world.wrong = dice, [], [], []
        world.google = await Google.start()
        for endpoint in ("read", "lookup"):
            for _ in range(CHECKS):
                await world.google.trouble(endpoint, "slow", ms=dice.choice(CHECK), times=1)
        given = {name: value for name, value in os.environ.items() if re.match(r"CASTAWAY_[A-Z]+__", name)}
        world.server = await Server.start(world.google, {**ENVIRONMENT, **given})
        world.late = 0
        asyncio.get_running_loop().set_exception_handler(world._task_failed)
        world.clock = asyncio.create_task(world._watch_the_clock())
        return world

    async def _watch_the_clock(self):
        """How late this process is at most: then it is to blame for what takes long."""
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.1)
            self.late = max(self.late, time.monotonic() - before - 0.1)

    def _task_failed(self, loop, context):
        """The client libraries' own tasks may fail when their connection is cut; nothing of ours may."""
        coroutine = getattr(context.get("future"), "get_coro", lambda: None)()
        code = str(getattr(coroutine, "cr_code", ""))
        if "exception" in context and not any(library in code for library in LIBRARIES):
            self.wrong.append(f"{context.get('message')}: {context.get('exception')!r}")

    async def link(self):
        link = await Link.to(self.server.port)
        self.links.append(link)
        return link

    async def round(self, name, seconds, streamer_count, listener_count):
        """People come, live through their schedule, and leave; gives what went wrong at its end."""
        dice = random.Random(self.dice.random())
        people = {"streamer": streamer_count, "listener": listener_count}
        plan = schedule.steps(dice, seconds, people)
        livestreams = [await self._livestream(f"{name}-{number}") for number in range(streamer_count)]
        transports = itertools.cycle((["websocket"], ["polling", "websocket"], ["polling"]))
        streamers = [Streamer(self, it, it.user, it.user, next(transports), self._dice(dice)) for it in livestreams]
        guests = [self._guest(dice, name, number, livestreams) for number in range(listener_count)]
        talks = [schedule.clips(dice, seconds) for _ in streamers]
        print(
            f"{name}: {seconds} s, {streamer_count} streamers, {listener_count} listeners, {len(plan)} actions",
            flush=True,
        )
        idle = await idlers(self)
        for person in (*streamers, *guests):
            person.come()
        began = time.monotonic()
        talking = [asyncio.create_task(self._talk(streamer, began, talk)) for streamer, talk in zip(streamers, talks)]
        await self._live(plan, began, {"streamer": streamers, "listener": guests})
        await asyncio.gather(*talking)
        await asyncio.sleep(max(0, began + seconds - time.monotonic()))
        found = await self._calm(streamers, guests)
        await self._leave(dice, streamers, guests)
        self.wrong += [
            line for person in (*streamers, *guests, *(it.companion for it in streamers)) for line in person.wrong
        ]
        self.histories += [livestream.history for livestream in livestreams]
        return found, livestreams, idle

    def _dice(self, dice):
        return random.Random(dice.random())

    async def _livestream(self, name):
        livestream = Livestream(name)
        await self.google.livestream(livestream.id, livestream.user)
        return livestream

    def _guest(self, dice, name, number, livestreams):
        livestream, transports = dice.choice(livestreams), dice.choice(schedule.TRANSPORTS)
        # Some have two devices.
        account = f"{name}-guest-{number - number % 20 if number % 20 == 1 else number}"
        return Listener(self, livestream, f"{name}-guest-{number}", account, transports, self._dice(dice))

    async def _talk(self, streamer, began, talk):
        for at, size in talk:
            await asyncio.sleep(max(0, began + at - time.monotonic()))
            streamer.say(size)

    async def _live(self, plan, began, people):
        doing = []
        for step in plan:
            await asyncio.sleep(max(0, began + step.at - time.monotonic()))
            person = people[step.role][step.person]
            if not person.visits:
                continue
            done = getattr(person, step.action)(step.seconds)
            if asyncio.iscoroutine(done):
                doing.append(asyncio.create_task(done))
        for failed in await asyncio.gather(*doing, return_exceptions=True):
            if failed:
                self.wrong.append(repr(failed))

    async def _calm(self, streamers, guests):
        """All links are whole again: everybody comes in, and hears a last clip."""
        found = []
        for person in (*streamers, *guests):
            person.away = 0
            for visit in person.visits:
                visit.link.heal()

        async def wait(people, holds, what, seconds):
            try:
                await until(lambda: all(map(holds, people)), what, seconds)
            except AssertionError:
                late = [person for person in people if not holds(person)]
                found.extend(f"{it} over {it.transports}: not {what} in {seconds} s" for it in late)

        await wait(streamers, lambda streamer: streamer.is_in(), "on air", GRACE + PING + PONG + 15)
        await wait(guests, lambda guest: guest.is_in(), "let in", 15)
        lasts = {streamer.livestream.id: streamer.say(2_000) for streamer in streamers}
        await wait(streamers, lambda streamer: not streamer.outbox, "all acknowledged", 10)

        def heard(guest):
            return any(it.number == lasts[guest.livestream.id] for it in guest.heard)

        await wait(guests, heard, "told the last clip", 10)
        for streamer in streamers:
            document = await self.google.document(streamer.livestream.id)
            if document["streamerConnected"] is not True:
                found.append(f"{streamer}: on air, and the flag is false")
        return found

    async def _leave(self, dice, streamers, guests):
        """Half say so, the links of the others are held; then the streamers end their livestreams."""
        going = []
        for guest in guests:
            if dice.random() < 0.5:
                guest.hold(0)
            going.append(guest.go())
        await asyncio.gather(*going)
        await asyncio.gather(*(streamer.go() for streamer in streamers))

    def let_go(self):
        """What was held until now, so that the daemon had to notice by itself."""
        for link in self.links:
            link.let_go()
        self.links.clear()

    def complaints_of_the_log(self):
        return [line for line in self.server.log.splitlines() if re.search(r" ERROR |panicked", line)][:10]

    def write(self, path):
        """The daemon's warnings, and in a file its log and the histories, for the search of a fault."""
        warnings = [line for line in self.server.log.splitlines() if re.search(r" (WARN|ERROR) ", line)]
        print(*warnings[:40], sep="\n")
        if path:
            events = (f"{event.at:.3f} {event}" for history in self.histories for event in history)
            Path(path).write_text("\n".join((self.server.log, *events, "")))

    async def stop(self):
        self.clock.cancel()
        self.let_go()
        code = await self.server.stop()
        await self.google.stop()
        return code
