"""Listeners with players: this server beside Icecast and nginx. See `run`.

Processor time and memory are the server's own, read from /proc. Both servers of a pair are measured in each round, one
after the other, and the ratio is that of a round: what else the machine does falls on both.
"""

import argparse
import asyncio
import os
import re
import selectors
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from multiprocessing import Event, Process, Value
from pathlib import Path

import sound
from livestreams import free_port, get, on_air, uploads

from harness.google import Google
from harness.server import Server
from harness.waiting import until

CLIP_SECONDS = 5
ENVIRONMENT = {
    "CASTAWAY_PLAYERS__ACCESS": "public",
    "CASTAWAY_PLAYERS__MAX_LISTENERS": "20000",
    "CASTAWAY_PLAYERS__MAX_LISTENERS_PER_ADDRESS": "20000",
    "CASTAWAY_PLAYERS__BURST_CLIPS": "1",
    "CASTAWAY_LIVESTREAM__MAX_LISTENERS": "20000",
    "CASTAWAY_SERVER__MAX_CONNECTIONS": "30000",
    "CASTAWAY_SERVER__MAX_CONNECTIONS_PER_ADDRESS": "20000",
    "CASTAWAY_SERVER__PING_TIMEOUT": "20s",
    "CASTAWAY_LISTENER__QUEUE_CLIPS": "100000",
    "CASTAWAY_UPLOAD__CLIPS_PER_MINUTE": "100000",
    "CASTAWAY_UPLOAD__CLIPS_BURST": "100000",
    "CASTAWAY_UPLOAD__BYTES_PER_SECOND": "1000000000",
    "CASTAWAY_UPLOAD__BYTES_BURST": "1000000000",
    "CASTAWAY_LOG__LEVEL": "warn",
}
ICECAST = """<icecast>
<limits><clients>20000</clients><sources>2</sources><queue-size>2097152</queue-size><burst-on-connect>0</burst-on-connect>
<source-timeout>600</source-timeout></limits>
<authentication><source-password>bench</source-password><admin-user>a</admin-user><admin-password>a</admin-password>
</authentication><hostname>localhost</hostname>
<listen-socket><port>{port}</port><bind-address>127.0.0.1</bind-address></listen-socket><fileserve>0</fileserve>
<paths><logdir>{place}</logdir><webroot>{place}</webroot><adminroot>{place}</adminroot></paths>
<logging><accesslog>access.log</accesslog><errorlog>error.log</errorlog><loglevel>1</loglevel></logging>
<security><chroot>0</chroot><changeowner><user>nobody</user><group>nogroup</group></changeowner></security></icecast>
"""
NGINX = """daemon off;
pid {place}/pid; error_log {place}/error.log; worker_processes {cores};
events {{ worker_connections 4096; }}
http {{
    access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000;
    types {{ application/vnd.apple.mpegurl m3u8; audio/mp4 m4s; }}
    client_body_temp_path {place}/t1; proxy_temp_path {place}/t2; fastcgi_temp_path {place}/t3;
    uwsgi_temp_path {place}/t4; scgi_temp_path {place}/t5;
    server {{ listen 127.0.0.1:{port}; root {place}; add_header Cache-Control "public, max-age=1"; }}
}}
"""


def processor_seconds(pid):
    """Of a process and its children."""
    seconds = 0
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for one in [pid, *children]:
        fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        seconds += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return seconds


def memory_kib(pid):
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text()).group(1))


def listen(port, path, count, received, connected, stop):
    """So many listeners, in a process of their own."""
    selector = selectors.DefaultSelector()
    for _ in range(count):
        client = socket.create_connection(("127.0.0.1", port))
        # Icecast lets five wait to be accepted: a faster crowd waits for TCP's retries.
        time.sleep(0.01)
        client.sendall(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
        client.setblocking(False)
        selector.register(client, selectors.EVENT_READ)
    connected.set()
    buffer = bytearray(1 << 20)
    while not stop.is_set():
        for key, _ in selector.select(0.1):
            got = key.fileobj.recv_into(buffer)
            received.value += got
            if not got:
                selector.unregister(key.fileobj)


async def deliver(pid, port, path, load, send):
    """Processor seconds per gigabyte, KiB of memory per listener, and the bytes that came."""
    received, connected, stop = Value("Q", 0, lock=False), Event(), Event()
    memory = memory_kib(pid)
    crowd = Process(target=listen, args=(port, path, load.listeners, received, connected, stop), daemon=True)
    crowd.start()
    await send(0)
    assert await asyncio.to_thread(connected.wait, 120), "not all listeners could connect"
    await asyncio.sleep(2)
    bytes_before, spent = received.value, processor_seconds(pid)
    for number in range(1, load.clips + 1):
        due = time.monotonic() + load.pace
        await send(number)
        await asyncio.sleep(max(0, due - time.monotonic()))
    await asyncio.sleep(1)
    spent = processor_seconds(pid) - spent
    memory = (memory_kib(pid) - memory) / load.listeners
    sent = received.value - bytes_before
    stop.set()
    crowd.join(10)
    assert sent, "nobody got anything: the pace is too fast for this machine"
    return spent / (sent / 1e9), memory, sent


async def by_castaway(google, clip, load):
    server = await Server.start(google, ENVIRONMENT)
    try:
        livestream = await on_air(google, server)
        await uploads(livestream.streamer, [clip])
        path = f"/livestreams/{livestream.id}/live"
        pid = server.child.process.pid

        async def send(_):
            await uploads(livestream.streamer, [clip])

        return await deliver(pid, server.port, path, load, send)
    finally:
        await server.stop(signal.SIGKILL)


async def by_icecast(stream, load, place):
    port = free_port()
    place.chmod(0o777)
    (place / "icecast.xml").write_text(ICECAST.format(port=port, place=place))
    icecast = subprocess.Popen(["icecast2", "-c", place / "icecast.xml"], stderr=subprocess.DEVNULL)
    try:
        reader, writer = await until(lambda: connect(port), "Icecast is up", 20)
        writer.write(
            b"SOURCE /live HTTP/1.0\r\nAuthorization: Basic c291cmNlOmJlbmNo\r\nContent-Type: audio/aac\r\n\r\n"
        )
        assert b" 200 " in await reader.readline()

        async def send(_):
            writer.write(stream)
            await writer.drain()

        await send(0)
        return await deliver(icecast.pid, port, "/live", load, send)
    finally:
        icecast.kill()
        icecast.wait()


async def connect(port):
    try:
        return await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return None


async def ask(pid, url, seconds):
    """Requests per second, and processor microseconds per request."""
    spent = processor_seconds(pid)
    command = ["wrk", "--threads", "1", "--connections", "50", "--duration", f"{seconds}s", url]
    said = (await asyncio.to_thread(sound.run, *command)).decode()
    spent = processor_seconds(pid) - spent
    requests = int(re.search(r"(\d+) requests in", said).group(1))
    assert "Non-2xx" not in said, said
    return float(re.search(r"Requests/sec:\s+([\d.]+)", said).group(1)), spent / requests * 1e6


async def files(google, clip, rounds, seconds, place):
    """Both servers, with the same playlist and the same segment."""
    server = await Server.start(google, ENVIRONMENT)
    port = free_port()
    (place / "nginx.conf").write_text(NGINX.format(port=port, place=place, cores=os.cpu_count()))
    nginx = subprocess.Popen(["nginx", "-e", place / "error.log", "-c", place / "nginx.conf"])
    try:
        livestream = await on_air(google, server)
        await uploads(livestream.streamer, [clip] * 12)
        place.chmod(0o755)
        _, playlist = await get(server, f"{livestream.id}/live.m3u8")
        names = {"playlist": "live.m3u8", "segment": playlist.decode().split()[-1]}
        for name in names.values():
            (place / name).write_bytes((await get(server, f"{livestream.id}/{name}"))[1])
        results = {}
        for number in range(rounds):
            for kind, name in names.items():
                ours = await ask(server.child.process.pid, f"{server.url}/livestreams/{livestream.id}/{name}", seconds)
                theirs = await ask(nginx.pid, f"http://127.0.0.1:{port}/{name}", seconds)
                results.setdefault(kind, []).append((ours, theirs))
                print(f"round {number + 1}, {kind}: {ours} {theirs}", file=sys.stderr)
        return results
    finally:
        nginx.terminate()
        nginx.wait()
        await server.stop(signal.SIGKILL)


def spread(values, form="{:.2f}"):
    """The median, and the least and the most."""
    return " ".join(
        [form.format(statistics.median(values)), f"({form.format(min(values))} to {form.format(max(values))})"]
    )


async def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--listeners", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clips", type=int, default=30, help="delivered to each listener in a round")
    parser.add_argument("--pace", type=float, default=1, help="seconds from clip to clip")
    parser.add_argument("--seconds", type=int, default=4, help="of requests for each file in a round")
    arguments = parser.parse_args()
    google = await Google.start()
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        tone = f"aevalsrc='random(0)*0.3':s=44100:d={CLIP_SECONDS}"
        encode = ["-ac", "1", "-c:a", "aac", "-b:a", "128k", "-f", "ipod", place / "clip.m4a"]
        sound.run("ffmpeg", "-v", "error", "-f", "lavfi", "-i", tone, *encode)
        clip, stream = (place / "clip.m4a").read_bytes(), sound.joined([place / "clip.m4a"], "m4a")
        pairs = []
        for number in range(arguments.rounds):
            ours = await by_castaway(google, clip, arguments)
            theirs = await by_icecast(stream, arguments, place)
            pairs.append((ours, theirs))
            print(f"round {number + 1}: {ours} {theirs}", file=sys.stderr)
        print(
            f"{arguments.listeners} streams, {len(stream)} bytes every {arguments.pace} s, {arguments.rounds} rounds:"
        )
        for name, column in (("this server", 0), ("Icecast", 1)):
            costs, memory = ([pair[column][at] for pair in pairs] for at in (0, 1))
            shares = [pair[column][2] / (arguments.listeners * arguments.clips * len(stream)) for pair in pairs]
            came = spread(shares, "{:.3f}")
            print(
                f"| {name} | {spread(costs)} s/GB | {spread(memory, '{:.1f}')} KiB a listener | {came} of the bytes |"
            )
        print(f"| ratio | {spread([ours[0] / theirs[0] for ours, theirs in pairs])} |")
        results = await files(google, clip, arguments.rounds, arguments.seconds, place)
        for kind, both in results.items():
            ratios = [ours[0] / theirs[0] for ours, theirs in both]
            costs = [spread([pair[at][1] for pair in both], "{:.0f}") for at in (0, 1)]
            rates = [spread([pair[at][0] for pair in both], "{:.0f}") for at in (0, 1)]
            print(f"| {kind} | {rates[0]} | {rates[1]} | {spread(ratios)} | {costs[0]} µs | {costs[1]} µs |")
    await google.stop()


asyncio.run(main())
