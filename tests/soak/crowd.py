"""Streamers and listeners on links of their own, with what each can do to itself and to its link.

They are the cluster suite's people (real python-socketio clients that come back after a lost transport), who here also
leave and return, move to another device, and share a session. All that each sees goes into its livestream's history.
"""

import asyncio
import time
from collections import deque
from types import SimpleNamespace

import socketio
from rig import people
from rig.history import Left
from socketio.packet import CONNECT, DISCONNECT
from verdict import ANSWER, Asked, Closed, Ended, Hindered, NotStarted, Over, Refused, Told, Unanswered
from visits import Visit

TIMEOUT = 10
"""Seconds for a connection with its `success` or `error`."""


class Roaming:
    """What streamers and listeners have in common; before a `Person` of the cluster suite."""

    def __init__(self, world, livestream, name, user, transports, dice):
        super().__init__(world.google, livestream, name, ())
        self.world, self.account, self.transports, self.dice = world, user, transports, dice
        self.journal = deque(maxlen=30)
        self.away, self.finished = 0, False
        self.moves, self.stays = asyncio.Event(), set()

    def come(self):
        self.task = asyncio.create_task(self._live())

    async def _live(self):
        token = await self.google.token(self.account)
        self.headers = {"id-token": token, "livestream-id": self.livestream.id}
        while not self.finished:
            visit = Visit(self, await self.world.link())
            self.visits = [it for it in self.visits if not it.gone.is_set()] + [visit]
            self.arrives(visit)
            self._spawn(self._stay(visit))
            await self._moves_or_loses(visit)
            if not self.moves.is_set():
                pause, self.away = self.away or self._pause(visit), 0
                await asyncio.sleep(pause)
            self.moves.clear()

    async def _moves_or_loses(self, visit):
        waiting = [asyncio.ensure_future(event.wait()) for event in (self.moves, visit.gone)]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waiting:
                one.cancel()

    def _spawn(self, work):
        task = asyncio.create_task(work)
        self.stays.add(task)
        task.add_done_callback(self._done)

    def _done(self, task):
        self.stays.discard(task)
        if not task.cancelled() and task.exception():
            self.wrong.append(f"{self}: {task.exception()!r}")

    def _pause(self, visit):
        """Who was told comes back when somebody opens the app again."""
        return self.dice.uniform(0.5, 1.5) if visit.told else self.dice.uniform(0.05, 0.4)

    async def _stay(self, visit):
        namespaces = self.namespaces(visit)
        how = {"headers": self.headers, "transports": self.transports, "namespaces": namespaces}
        connecting = visit.socket.connect(visit.link.url, wait_timeout=TIMEOUT, **how)
        try:
            await asyncio.wait_for(visit.unless_gone(connecting), TIMEOUT)
            visit.ends_with_its_library()
            await self._answered(visit)
            await visit.gone.wait()
        except (TimeoutError, OSError, socketio.exceptions.ConnectionError) as error:
            if not visit.link.hindered and not visit.left:
                self.note(Unanswered(time.monotonic(), str(self), f"a connection over {self.transports}: {error!r}"))
        finally:
            self.parts(visit)
            await visit.finish()

    async def _answered(self, visit, what="a CONNECT"):
        """Waits for `success` or `error`, or the end of the transport."""
        end = time.monotonic() + ANSWER
        while not visit.answered and visit.is_open and not visit.left and time.monotonic() < end:
            await asyncio.sleep(0.05)
        if not visit.is_open:
            visit.gone.set()
        elif not visit.answered and not visit.left:
            if not visit.link.hindered:
                self.note(Unanswered(time.monotonic(), str(self), f"{what} over {self.transports}"))
            visit.gone.set()

    def note(self, event):
        self.history.append(event)

    def namespaces(self, visit):
        return [visit.namespace]

    def parts(self, visit):
        """A visit has ended, by whatever cause."""
        idle = visit.link.hindered or visit.left or visit.told or not visit.accepted
        if not idle and not self.finished:
            state = "while it sent slowly" if any(visit.link.rate.values()) else "with nothing wrong"
            self.note(Closed(time.monotonic(), str(self), f"closed {state} over {self.transports}"))

    def hears(self, visit, name, value):
        if name == "success" and " connected as " in value and visit.left:
            return
        if name == "error":
            self.is_told(visit, value)
        super().hears(visit, name, value)
        if name == "audio":
            # Its bytes are checked by now, and many.
            self.journal.pop()

    def is_told(self, visit, error):
        """`error` came."""
        self.note(Told(time.monotonic(), str(self), error))

    # What it can do.

    def cut(self, _):
        self._hindered("cut", self.dice.random() < 0.5)

    def hold(self, seconds):
        """The phone is on another network now; the daemon is not told."""
        self.away = seconds
        self._hindered("hold")

    def _hindered(self, how, *arguments):
        visit = self.visits[-1]
        self.suffers(visit)
        getattr(visit.link, how)(*arguments)
        if not visit.accepted and visit.link.hindered != "slow":
            # The library would wait for an answer on a link that is gone.
            visit.gone.set()

    def suffers(self, visit):
        """Before its link is hindered."""

    async def leave(self, seconds=0):
        """The client's own DISCONNECT."""
        visit = self.visits[-1]
        if not self.is_in():
            return
        self.away = seconds
        await self._goodbye(visit)
        await self._drain(visit)
        visit.gone.set()

    async def _goodbye(self, visit):
        self.says_goodbye(visit)
        visit.left, visit.accepted = True, False
        await visit.ask(DISCONNECT, visit.namespace)

    async def _drain(self, visit):
        try:
            await asyncio.wait_for(visit.socket.eio.queue.join(), 2)
        except TimeoutError:
            pass

    async def rejoin(self, _):
        """DISCONNECT and CONNECT back to back on one session."""
        visit = self.visits[-1]
        if not self.is_in():
            return
        await self._goodbye(visit)
        visit.socket.namespaces.pop(visit.namespace, None)
        visit.left = visit.answered = False
        visit.asked = time.monotonic()
        self.arrives(visit)
        await visit.ask(CONNECT, visit.namespace)
        await self._answered(visit, "a CONNECT right behind a DISCONNECT")

    async def go(self, seconds=0):
        """Leaves for good."""
        self.finished = True
        if self.visits and self.is_in():
            await self.leave()
        await asyncio.sleep(seconds)
        self.task.cancel()
        for visit in self.visits:
            visit.gone.set()
        await asyncio.gather(self.task, *self.stays, return_exceptions=True)


class Listener(Roaming, people.Listener):
    """May share its account with others; each sitting is one join."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.heard = deque(maxlen=5)
        self.sittings = 0

    def enters(self, visit):
        self.sittings += 1
        visit.number = self.sittings
        self.note(Asked(visit.asked, self.user, visit.number))
        super().enters(visit)
        if visit.link.hindered:
            self.suffers(visit)

    def parts(self, visit):
        super().parts(visit)
        if visit.accepted:
            self.note(Left(time.monotonic(), self.user, visit.number))

    def is_told(self, visit, error):
        if error == f"Livestream {self.livestream.id} has not started.":
            self.note(NotStarted(time.monotonic(), visit.asked, self.user))
        else:
            super().is_told(visit, error)

    def says_goodbye(self, visit):
        self.note(Left(time.monotonic(), self.user, visit.number))

    def suffers(self, visit):
        if visit.accepted:
            self.note(Hindered(time.monotonic(), self.user, visit.number))

    def slow(self, seconds):
        """Reads slowly, then as before."""
        visit = self.visits[-1]
        self._hindered("slow_down", self.dice.choice((500, 4_000, 20_000)))
        asyncio.get_running_loop().call_later(seconds, visit.link.heal)


class Companion(people.Listener):
    """A listener on its streamer's session: one transport, two namespaces."""

    def __init__(self, streamer):
        super().__init__(streamer.google, streamer.livestream, f"{streamer.user} as a listener", ())
        self.streamer, self.journal, self.heard = streamer, deque(maxlen=30), deque(maxlen=5)
        self.sittings, self.sitting = 0, None

    def attach(self, visit):
        """Hears what comes to this visit from now on."""
        self.sitting = SimpleNamespace(
            visit=visit,
            node=visit.node,
            gone=visit.gone,
            number=0,
            accepted=False,
            answered=False,
            asked=time.monotonic(),
        )
        visit.companion = self.sitting
        visit.also("/listener", lambda name, value, sitting=self.sitting: self.hears(sitting, name, value))

    def enters(self, sitting):
        self.sittings += 1
        sitting.number = self.sittings
        self.history.append(Asked(sitting.asked, self.user, sitting.number))
        super().enters(sitting)

    def hears(self, sitting, name, value):
        sitting.answered |= name in ("error", "success")
        if name == "error":
            if value == f"Livestream {self.livestream.id} has not started.":
                self.history.append(NotStarted(time.monotonic(), sitting.asked, self.user))
            else:
                self.history.append(Told(time.monotonic(), self.user, value))
        super().hears(sitting, name, value)
        if name == "audio":
            self.journal.pop()
        if name == "disconnect":
            sitting.accepted = False

    def suffers(self, visit):
        sitting = visit.companion
        if sitting.accepted:
            self.history.append(Hindered(time.monotonic(), self.user, sitting.number))

    async def toggle(self):
        """Joins, or leaves and joins back to back."""
        sitting = self.sitting
        if not sitting or not sitting.visit.is_open or not sitting.visit.accepted:
            return
        visit = sitting.visit
        if sitting.accepted:
            sitting.accepted = False
            self.history.append(Left(time.monotonic(), self.user, sitting.number))
            await visit.ask(DISCONNECT, "/listener")
        visit.socket.namespaces.pop("/listener", None)
        sitting.answered, sitting.asked = False, time.monotonic()
        await visit.ask(CONNECT, "/listener")
        while not sitting.answered and visit.is_open and time.monotonic() < sitting.asked + ANSWER:
            await asyncio.sleep(0.05)
        if not sitting.answered and visit.is_open and not visit.link.hindered:
            self.history.append(Unanswered(time.monotonic(), self.user, "a CONNECT on its streamer's session"))


class Streamer(Roaming, people.Streamer):
    """One account on several devices; what is not acknowledged is uploaded again."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.companion = Companion(self)
        self.last, self.out = 0, None
        """The session that was let in last, and since when none has been."""

    def arrives(self, visit):
        super().arrives(visit)
        if not visit.companion:
            self.companion.attach(visit)

    def namespaces(self, visit):
        # Sometimes the listener asks first, as in an app that listened before.
        return ["/listener", visit.namespace] if self.dice.random() < 0.3 else [visit.namespace]

    def parts(self, visit):
        super().parts(visit)
        now = time.monotonic()
        self.note(Over(now, visit.session))
        if not self.is_in():
            self.out = self.out or now
        if visit.companion.accepted:
            visit.companion.accepted = False
            self.note(Left(time.monotonic(), self.companion.user, visit.companion.number))

    def enters(self, visit):
        now = time.monotonic()
        if self.out and now - self.out > self.world.grace - 1:
            # Nobody knows whether it came back in time.
            self.note(Ended(self.out, self.last))
        self.out, self.last = None, visit.session
        super().enters(visit)
        for old in self.visits[: self.visits.index(visit)]:
            if old.accepted and not old.link.hindered:
                self._spawn(self._is_dismissed(old))

    async def _is_dismissed(self, old):
        try:
            await asyncio.wait_for(old.gone.wait(), ANSWER)
        except TimeoutError:
            if not old.link.hindered:
                self.note(Unanswered(time.monotonic(), str(self), "the replaced device was not told"))
            old.gone.set()

    def refused(self, stamp, answer):
        self.note(Refused(time.monotonic(), *stamp.place, answer.get("error", str(answer))))

    def is_told(self, visit, error):
        replaced = error == f"Livestream {self.livestream.id} was taken over by another connection."
        if not replaced or visit is self.visits[-1]:
            super().is_told(visit, error)

    def says_goodbye(self, visit):
        now = time.monotonic()
        self.note(Ended(now, visit.session))
        self.note(Over(now, visit.session))

    def suffers(self, visit):
        now = time.monotonic()
        self.note(Over(now, visit.session))
        self.out = self.out or now
        self.companion.suffers(visit)

    def move(self, _):
        """Another device of the same user goes live; this one is still connected."""
        self.moves.set()

    async def flap(self, seconds):
        """Another device is cut off while the daemon checks it; a third one is let in, and stays."""
        self.moves.set()
        await asyncio.sleep(seconds)
        if not self.is_in() and self.visits:
            self.cut(0)

    def slow(self, seconds):
        """Its uplink is slow for a while, as it flushes what it has."""
        visit = self.visits[-1]
        self.note(Over(time.monotonic(), visit.session))
        visit.link.slow_up(30_000)
        for size in (150_000, 60_000, 60_000):
            self.say(size)
        asyncio.get_running_loop().call_later(seconds, visit.link.heal)

    def desert(self, seconds):
        """Its link is lost for longer than the grace period."""
        if self.is_in():
            self.note(Ended(time.monotonic(), self.visits[-1].session))
            self.hold(self.world.grace + self.world.detection + seconds)

    async def listen(self, _):
        await self.companion.toggle()
