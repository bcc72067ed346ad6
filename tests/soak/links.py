"""A TCP relay between one client and the daemon, with the faults of a network.

A link is for one visit: once it is cut or held, it takes no new connection, so that a client library cannot repeat a
request whose answer was lost on the way, which no server can see.
"""

import asyncio
import socket
import struct

KERNEL_BUFFER = 16 << 10
"""Small, so that a slow link is felt by the daemon and not by the kernel."""


class Link:
    """Leads from a free port to the daemon; made with `to`."""

    @classmethod
    async def to(cls, port):
        link = cls()
        link.target, link.ends, link.joining = port, set(), set()
        link.rate = {True: 0, False: 0}
        link.hindered, link.name = None, "the daemon"
        listening = socket.create_server(("127.0.0.1", 0), backlog=16)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, KERNEL_BUFFER)
        loop = asyncio.get_running_loop()
        link.server = await loop.create_server(lambda: End(link, up=True), sock=listening)
        link.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        return link

    async def join(self, near):
        """Opens the daemon's side for a connection that came."""
        loop = asyncio.get_running_loop()
        out = socket.socket()
        out.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, KERNEL_BUFFER)
        out.setblocking(False)
        try:
            await loop.sock_connect(out, ("127.0.0.1", self.target))
            _, far = await loop.create_connection(lambda: End(self, up=False), sock=out)
        except OSError:
            out.close()
            near.end()
            return
        near.other, far.other = far, near
        if near.transport.is_closing():
            far.end()
        near.pause("joining", False)

    def _refuse_more(self, why):
        self.server.close()
        self.hindered = self.hindered or why

    def cut(self, reset=True):
        """Both sides are reset, or closed."""
        self._refuse_more("cut")
        for end in list(self.ends):
            end.end(reset)

    def hold(self):
        """The client's side is reset; the daemon's stays open, and nobody answers there."""
        self._refuse_more("held")
        for end in list(self.ends):
            if end.up:
                end.held = True
                end.end()
            else:
                end.held = True
                end.pause("held", True)

    def slow_down(self, bytes_per_second):
        """From the daemon to the client so much passes, and no more."""
        self.hindered = "slow"
        self.rate[False] = bytes_per_second

    def slow_up(self, bytes_per_second):
        """From the client to the daemon; the daemon has no reason to close such a link."""
        self.rate[True] = bytes_per_second

    def heal(self):
        self.rate = {True: 0, False: 0}
        for end in self.ends:
            end.pause("slow", False)

    def close(self):
        """Ends the client's side, and the daemon's unless it is held."""
        self.server.close()
        for end in list(self.ends):
            if not end.held:
                end.end()

    def let_go(self):
        """Ends what is held, too."""
        self.server.close()
        for end in list(self.ends):
            end.end()


class End(asyncio.Protocol):
    """One side of a connection; `up` is the client's."""

    def __init__(self, link, up):
        self.link, self.up = link, up
        self.other, self.held, self.pauses, self.gone = None, False, set(), False

    def connection_made(self, transport):
        self.transport = transport
        self.link.ends.add(self)
        if self.up:
            self.pause("joining", True)
            task = asyncio.ensure_future(self.link.join(self))
            self.link.joining.add(task)
            task.add_done_callback(self.link.joining.discard)

    def end(self, reset=True):
        """Closes its connection at once, with a reset or without."""
        handle = self.transport.get_extra_info("socket")
        if reset and not self.transport.is_closing():
            handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def pause(self, reason, on):
        """Reads nothing while there is a reason."""
        (self.pauses.add if on else self.pauses.discard)(reason)
        if self.gone or self.transport.is_closing():
            return
        if self.pauses and self.transport.is_reading():
            self.transport.pause_reading()
        elif not self.pauses and not self.transport.is_reading():
            self.transport.resume_reading()

    def data_received(self, data):
        if self.held or self.other is None:
            return
        self.other.transport.write(data)
        if rate := self.link.rate[self.up]:
            self.pause("slow", True)
            asyncio.get_running_loop().call_later(len(data) / rate, self.pause, "slow", False)

    def pause_writing(self):
        if self.other:
            self.other.pause("full", True)

    def resume_writing(self):
        if self.other:
            self.other.pause("full", False)

    def connection_lost(self, error):
        self.gone = True
        self.link.ends.discard(self)
        if self.other and not self.held:
            (self.other.end if error else self.other.transport.close)()
