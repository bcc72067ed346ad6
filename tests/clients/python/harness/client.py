"""The real client, python-socketio, with all that it hears written down."""

import asyncio
import hashlib
import itertools
from collections import defaultdict

import socketio
from engineio.payload import Payload
from socketio.packet import DISCONNECT, Packet

# The library itself takes no long poll of more packets than 16, eight clips.
Payload.max_decode_packets = 10_000

TRANSPORTS = {
    "websocket": ["websocket"],
    "polling": ["polling"],
    "upgrade": ["polling", "websocket"],
}
SECONDS = 8


def sha256(data):
    return hashlib.sha256(data).hexdigest()


class Client:
    """One queue a name, and everything in order in `journal`."""

    def __init__(self, role):
        self.namespace = f"/{role}"
        self.journal = []
        self.queues = defaultdict(asyncio.Queue)
        self.wrong = []
        self.socket = socketio.AsyncClient(
            reconnection_delay=0.1, reconnection_delay_max=0.3, randomization_factor=0, handle_sigint=False
        )
        for name in ("connect", "disconnect", "connect_error"):
            self.socket.on(name, self._hears(name), namespace=self.namespace)
        self.socket.on("*", self._event, namespace=self.namespace)

    def _hears(self, name):
        async def heard(*arguments):
            self._heard(name, arguments[0] if arguments else None)

        return heard

    async def _event(self, name, *arguments):
        if len(arguments) != 1:
            self.wrong.append((name, arguments))
        self._heard(name, arguments[0] if arguments else None)

    def _heard(self, name, value):
        self.journal.append((name, value))
        self.queues[name].put_nowait(value)

    async def connect(self, url, transports, headers, auth=None):
        await self.socket.connect(
            url, headers=headers, auth=auth, transports=transports, namespaces=[self.namespace], wait_timeout=SECONDS
        )

    async def next(self, name, seconds=SECONDS):
        """The next `name` that was heard (an event, or connect, disconnect, connect_error)."""
        try:
            return await asyncio.wait_for(self.queues[name].get(), seconds)
        except TimeoutError:
            raise AssertionError(f"no {name} in {seconds} s; heard {self.heard()}") from None

    async def take(self, name, count):
        return [await self.next(name) for _ in range(count)]

    def unread(self, name):
        return self.queues[name].qsize()

    def names(self):
        """What was heard, in order, `state` left out: it may come at any time."""
        return [name for name, _ in self.journal if name != "state"]

    def heard(self):
        """All that was heard, in order, for a message: repetitions are counted."""
        said = (f"{name} {value!r}" if isinstance(value, str) else name for name, value in self.journal)
        counted = ((one, len(list(same))) for one, same in itertools.groupby(said))
        return ", ".join(f"{one} × {count}" if count > 1 else one for one, count in counted)

    async def emit(self, name, data=None):
        await self.socket.emit(name, data, namespace=self.namespace)

    async def upload(self, clip):
        """Uploads with a callback, and gives its answer."""
        return await self.socket.call("upload", clip, namespace=self.namespace, timeout=SECONDS)

    async def leave(self):
        """The client's own DISCONNECT. The library's `disconnect` may close the WebSocket before it is on the wire."""
        await self.socket._send_packet(Packet(DISCONNECT, namespace=self.namespace))
        await self.socket.eio.queue.join()
        await self.socket.disconnect()

    async def close(self):
        """Ends the client, and holds the server to what every event must keep."""
        await self.socket.shutdown()
        assert not self.wrong, "an event carries exactly one argument"
        errors = [value for name, value in self.journal if name == "connect_error"]
        # A connection that fails is reported under the same name, with a text.
        assert not [error for error in errors if not isinstance(error, str)], "the server sent a CONNECT_ERROR"
