"""Streamers and listeners that behave as the shipped app behind a load balancer: a transport that goes under them brings
them back, to another node if theirs is gone; a DISCONNECT of the server is the end."""

import asyncio
import itertools
import time
from collections import OrderedDict
from types import SimpleNamespace

import socketio

from harness.client import Client
from harness.waiting import until

from .clips import Stamp, stamp_of
from .history import Acked, Heard, Joined, Left, LetIn, Sent

SERVER = "server disconnect"
TIMEOUT = 3
PAUSE = 0.1


class Visit(Client):
    """One connection of the real client; what it hears, its person hears."""

    def __init__(self, person, node):
        super().__init__(person.role)
        self.person, self.node = person, node
        self.socket.reconnection = False
        self.gone = asyncio.Event()

    def _heard(self, name, value):
        super()._heard(name, value)
        self.person.hears(self, name, value)
        if name == "disconnect":
            self.gone.set()


class Person:
    """Comes to the first of `nodes`, and to the next one each time that it has to come back."""

    role = ""

    def __init__(self, google, livestream, user, nodes):
        self.google, self.livestream, self.user = google, livestream, user
        self.nodes = list(nodes)
        self.visits, self.journal, self.history = [], [], livestream.history
        self.wrong = []
        """What must not come at all: an exception in a handler would only be logged."""
        self.told = asyncio.Event()
        """The server said that it is over."""
        self.task = None
        self.pause = PAUSE
        """Until it comes back."""

    async def come(self, seconds=8):
        """Comes, and is let in."""
        self.task = asyncio.create_task(self._live())
        await until(self.is_in, lambda: f"{self} is let in; it heard {self.names()}", seconds)
        return self

    async def contend(self, seconds=8):
        """Comes, and is let in, or is told at once that another was."""
        self.task = asyncio.create_task(self._live())
        judged = lambda: self.is_in() or self.told.is_set()  # noqa: E731
        await until(judged, lambda: f"{self} is let in or told; it heard {self.names()}", seconds)
        return self

    def is_in(self):
        """Let in, on the newest connection, which lasts."""
        return bool(self.visits) and self.visits[-1].accepted and not self.visits[-1].gone.is_set()

    async def _live(self):
        token = await self.google.token(self.user)
        headers = {"id-token": token, "livestream-id": self.livestream.id}
        for node in self.turns():
            if node.server is None:
                await asyncio.sleep(0.01)
                continue
            visit = Visit(self, node)
            visit.number, visit.accepted = len(self.visits) + 1, False
            self.visits.append(visit)
            self.arrives(visit)
            try:
                await asyncio.wait_for(visit.connect(node.url, ["websocket"], headers, self.auth()), TIMEOUT)
                await visit.gone.wait()
            except (TimeoutError, OSError, socketio.exceptions.ConnectionError):
                visit.gone.set()
                self.gives_up(visit)
            if self.told.is_set():
                return
            await asyncio.sleep(self.pause)

    def turns(self):
        """The node to come to, each time."""
        return itertools.cycle(self.nodes)

    def arrives(self, visit):
        """Before a connection is tried."""

    def gives_up(self, visit):
        """A connection took too long. The library does not report its end, also if it was let in just now."""

    def auth(self):
        """The payload of its CONNECT, besides the headers."""

    def hears(self, visit, name, value):
        try:
            self._takes(visit, name, value)
        except AssertionError as wrong:
            self.wrong.append(str(wrong))
        except Exception as mistake:
            self.wrong.append(f"{self} cannot take {name}: {mistake!r}")

    def _takes(self, visit, name, value):
        if visit.gone.is_set():
            return
        self.journal.append((time.monotonic(), visit.node.name, name, value))
        if name == "success" and " connected as " in value:
            visit.accepted = True
            self.enters(visit)
        elif name == "disconnect" and value == SERVER:
            self.told.set()
        self.notices(visit, name, value)

    def enters(self, visit):
        """Was let in."""

    def notices(self, visit, name, value):
        """Heard something."""

    @property
    def node(self):
        """The node of the newest connection."""
        return self.visits[-1].node

    def names(self):
        return [name for _, _, name, _ in self.journal]

    def said(self, name):
        """The values of all events of this name."""
        return [value for _, _, heard, value in self.journal if heard == name]

    def states(self):
        return [value["state"] for value in self.said("state")]

    def __repr__(self):
        return f"{self.user} ({self.role})"

    async def cut(self):
        """Its link breaks; it comes back to its next node, perhaps before the old one has noticed."""
        if self.is_in():
            await self.visits[-1].socket.eio.disconnect(abort=True)

    async def leave(self):
        """The client's own DISCONNECT."""
        self.told.set()
        await self.visits[-1].leave()
        await self.close()

    async def close(self):
        if self.task:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)
        for visit in self.visits:
            try:
                await asyncio.wait_for(visit.close(), 2)
            except TimeoutError:
                visit.socket.eio.state = "disconnected"
            # A connection that was given up leaves its session.
            if visit.socket.eio.http and not visit.socket.eio.http.closed:
                await visit.socket.eio.http.close()
        assert not self.wrong, self.wrong


class Streamer(Person):
    """Keeps what was not acknowledged, and says it again when it was refused or is back."""

    role = "streamer"

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.numbers = itertools.count(1)
        self.outbox = OrderedDict()
        self.acked = OrderedDict()
        """By number, the stamp and the answer that said `ok: true`."""
        self.refusals = []
        self.with_ids = False
        """Whether each clip has its number as its id: said again, it is heard once."""
        self.tasks = set()

    def arrives(self, visit):
        visit.session, visit.index = self.livestream.next_session(), 0

    def enters(self, visit):
        self.history.append(LetIn(time.monotonic(), visit.session, visit.node.name))
        for number in list(self.outbox):
            self._send(visit, number)

    def say(self, size=2_000):
        """Uploads the next clip, now or when it is let in again; gives its number."""
        number = next(self.numbers)
        self.outbox[number] = size
        if self.is_in():
            self._send(self.visits[-1], number)
        return number

    def _send(self, visit, number):
        stamp = Stamp(self.livestream.id, visit.session, visit.index, number, self.outbox[number])
        visit.index += 1
        self.history.append(Sent(time.monotonic(), *stamp.place))
        self._keep(self._upload(visit, stamp))

    def _keep(self, work):
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _send_again(self, visit, number):
        """Nobody knows whether a refused clip was published: it is said again, on the same connection."""
        await asyncio.sleep(PAUSE * 3)
        if number in self.outbox and self.is_in() and self.visits[-1] is visit:
            self._send(visit, number)

    async def _upload(self, visit, stamp):
        def answered(answer):
            if answer.get("ok"):
                # A repetition is heard by nobody: it was heard in its first place.
                if not answer.get("duplicate"):
                    self.history.append(Acked(time.monotonic(), *stamp.place, answer["sequence"]))
                self.acked[stamp.number] = SimpleNamespace(stamp=stamp, at=time.monotonic(), **answer)
                self.outbox.pop(stamp.number, None)
            else:
                self.refused(stamp, answer)
                self._keep(self._send_again(visit, stamp.number))

        try:
            clip = self.clip(stamp)
            arguments = (clip, {"id": str(stamp.number)}) if self.with_ids else clip
            await visit.socket.emit("upload", arguments, namespace=visit.namespace, callback=answered)
        except socketio.exceptions.SocketIOError:
            pass

    def clip(self, stamp):
        """The bytes that it uploads."""
        return stamp.clip()

    def refused(self, stamp, answer):
        """Was told `ok: false`."""
        self.refusals.append(answer)

    async def say_and_wait(self, size=2_000, seconds=8):
        """Uploads the next clip, and gives the answer that said `ok: true`."""
        number = self.say(size)
        return await self.answered(number, seconds)

    async def answered(self, number, seconds=8):
        await until(
            lambda: number in self.acked,
            lambda: f"clip {number} is acknowledged; refused {self.refusals}, heard {self.names()[-10:]}",
            seconds,
        )
        return self.acked[number]


class Listener(Person):
    """Knows what it heard, and that every byte of it was right."""

    role = "listener"

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.heard = []
        """The stamps, of all visits, in order."""

    def enters(self, visit):
        self.history.append(Joined(time.monotonic(), self.user, visit.number, visit.node.name))
        visit.stamps = []

    def gives_up(self, visit):
        if visit.accepted:
            self.history.append(Left(time.monotonic(), self.user, visit.number))

    def notices(self, visit, name, value):
        if name == "audio":
            stamp = stamp_of(value)
            assert stamp.livestream == self.livestream.id, f"{self} heard another livestream's {stamp}"
            self.history.append(Heard(time.monotonic(), self.user, visit.number, *stamp.place))
            self.heard.append(stamp)
            visit.stamps.append(stamp)
        elif name == "disconnect" and visit.accepted:
            self.history.append(Left(time.monotonic(), self.user, visit.number, value == SERVER))

    def numbers(self):
        return [stamp.number for stamp in self.heard]

    async def hears_number(self, number, seconds=8):
        await until(
            lambda: number in self.numbers(),
            lambda: f"{self} at {self.node.name} hears clip {number}; it heard {self.numbers()[-20:]}",
            seconds,
        )
