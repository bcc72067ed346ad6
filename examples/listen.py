#!/usr/bin/env python3
"""Listens to a livestream, and writes what it hears to a file, or to stdout for "-".

    TOKEN=… python3 examples/listen.py http://localhost:3000 demo heard.mp3
    TOKEN=… python3 examples/listen.py http://localhost:3000 demo - | ffplay -

TOKEN is an ID token or a listening pass; the demo prints one. Clips of MP3 or ADTS, one after the other, are a file again;
of M4A they are not: write each into a file of its own. Needs `pip install "python-socketio[asyncio_client]"`.
"""

import asyncio
import os
import sys

import aiohttp
import socketio

NAMESPACE = "/listener"


async def listen(url, livestream, token, file):
    """Returns None at the end of the livestream, or the server's words if it refused."""
    session = aiohttp.ClientSession()  # the library does not close one of its own
    client = socketio.AsyncClient(http_session=session)
    over = asyncio.Event()
    refusal = None

    async def audio(clip):
        # Every clip, whole and in order. A player takes it from here.
        file.write(clip)
        file.flush()

    async def error(text):
        nonlocal refusal
        refusal = text

    async def success(_text):
        nonlocal refusal
        refusal = None  # a refusal that was temporary

    async def disconnect(reason):
        # The server's DISCONNECT is final: the livestream is over, or the join was refused. After any other reason the
        # client comes back by itself.
        if reason == client.reason.SERVER_DISCONNECT:
            over.set()

    for handler in (audio, error, success, disconnect):
        client.on(handler.__name__, handler, namespace=NAMESPACE)

    def headers():
        # Asked for at each connect: an app gives its latest token here, since a Firebase token is valid for an hour.
        return {"id-token": token, "livestream-id": livestream}

    try:
        # The server answers once it has checked the token; the library waits for a second by default.
        await client.connect(url, headers=headers, transports=["websocket"], namespaces=[NAMESPACE], wait_timeout=10)
        await over.wait()
    finally:
        await session.close()
    return refusal


def main():
    token = os.environ.get("TOKEN")
    if len(sys.argv) != 4 or not token:
        sys.exit("usage: TOKEN=… listen.py URL LIVESTREAM FILE")
    url, livestream, path = sys.argv[1:]
    file = sys.stdout.buffer if path == "-" else open(path, "wb")
    with file:
        try:
            refusal = asyncio.run(listen(url, livestream, token, file))
        except socketio.exceptions.ConnectionError as error:
            refusal = f"{url} cannot be reached: {error}"
    sys.exit(refusal)


main()
