"""One connection of a person over a link of its own: the real client, and what it does not say by itself."""

import asyncio
import time

import socketio
from rig import people
from socketio.packet import Packet


class Visit(people.Visit):
    """One connection of the real client; it keeps nothing of what it heard."""

    def __init__(self, person, link):
        super().__init__(person, link)
        self.link, self.asked, self.companion = link, time.monotonic(), None
        self.accepted = self.answered = self.left = self.told = False
        # An upload over long polling is one request, however slow the link is.
        self.socket.eio.request_timeout = 60

    def _heard(self, name, value):
        value = self._reason(name, value)
        if name in ("error", "success"):
            self.answered = True
        self.told |= name == "disconnect" and value == people.SERVER
        self.person.hears(self, name, value)
        if name == "disconnect":
            self.gone.set()

    def _reason(self, name, value):
        """The library calls the end of a transport by the server what only a DISCONNECT is."""
        ended = name == "disconnect" and value == people.SERVER and self.socket.eio.state != "connected"
        return "the transport was closed" if ended else value

    def also(self, namespace, heard):
        """Hears another namespace of the same session."""

        async def event(name, *arguments):
            heard(name, arguments[0] if arguments else None)

        async def disconnect(reason):
            heard("disconnect", self._reason("disconnect", reason))

        self.socket.on("*", event, namespace=namespace)
        self.socket.on("disconnect", disconnect, namespace=namespace)

    async def unless_gone(self, work):
        """Does the work, or gives it up when this side knows that the link is lost."""
        tasks = [asyncio.ensure_future(it) for it in (work, self.gone.wait())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
        for task in done:
            task.result()

    def ends_with_its_library(self):
        """Whose reading may end without a word, as when a long poll's answer takes too long to arrive."""
        if reading := self.socket.eio.read_loop_task:
            reading.add_done_callback(lambda _: self.gone.set())

    async def ask(self, kind, namespace):
        await self.socket._send_packet(Packet(kind, namespace=namespace))

    @property
    def is_open(self):
        return self.socket.eio.state == "connected" and not self.gone.is_set()

    async def finish(self):
        """Leaves nothing of itself."""
        eio = self.socket.eio
        try:
            await asyncio.wait_for(eio.disconnect(abort=True), 2)
        except (TimeoutError, OSError, socketio.exceptions.SocketIOError):
            eio.state = "disconnected"
        # Else they would open another connection.
        loops = [task for task in (eio.read_loop_task, eio.write_loop_task) if task]
        for task in loops:
            task.cancel()
        await asyncio.gather(*loops, return_exceptions=True)
        if eio.http and not eio.http.closed:
            await eio.http.close()
        self.link.close()
        self.gone.set()
