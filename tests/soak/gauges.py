"""What the daemon holds: descriptors and memory as the kernel says, everything else as /metrics says."""

import os
import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

MIB = 1 << 20
MEMORY_MARGIN = 8 * MIB
"""What an allocator may keep more than after the warm-up round."""


class Held(NamedTuple):
    """At one moment; `gauges` by the sample's name with its labels."""

    memory: int
    descriptors: int
    gauges: dict

    def __str__(self):
        return f"{self.memory / MIB:.1f} MiB, {self.descriptors} descriptors"


def more(before, after):
    """One line for everything of which there is more than before, by subject."""
    found = []
    if after.memory > before.memory + MEMORY_MARGIN:
        found.append(f"memory: {after.memory / MIB:.1f} MiB, {before.memory / MIB:.1f} MiB before")
    if after.descriptors > before.descriptors:
        found.append(f"descriptors: {after.descriptors}, {before.descriptors} before")
    for name, value in sorted(after.gauges.items()):
        if value > before.gauges.get(name, 0):
            found.append(f"gauge: {name} is {value:g}, {before.gauges.get(name, 0):g} before")
    return found


def gauges(text):
    """The daemon's own gauges in Prometheus's text format."""
    names = set(re.findall(r"^# TYPE (castaway_\S+) gauge$", text, re.MULTILINE))
    lines = [line.rpartition(" ") for line in text.splitlines() if re.split(r"[{ ]", line, maxsplit=1)[0] in names]
    return {name: float(value) for name, _, value in lines}


def peers(pid):
    """By inode, the far port of each TCP socket of the process's network namespace."""
    found = {}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            found[fields[9]] = int(fields[2].rpartition(":")[2], 16)
    return found


def descriptors(pid, but_to=frozenset()):
    """How many are open, without pooled connections to these ports."""
    ports, count = peers(pid), 0
    for entry in os.listdir(f"/proc/{pid}/fd"):
        try:
            target = os.readlink(f"/proc/{pid}/fd/{entry}")
        except FileNotFoundError:
            continue
        match = re.fullmatch(r"socket:\[(\d+)\]", target)
        count += not (match and ports.get(match[1]) in but_to)
    return count


async def held(server, google):
    """What this daemon holds now."""
    pid = server.child.process.pid
    _, text = await server.get("/metrics")
    status = Path(f"/proc/{pid}/status").read_text()
    memory = int(re.search(r"^RssAnon:\s+(\d+) kB", status, re.MULTILINE)[1]) << 10
    ports = {urlsplit(url).port for url in google.environment.values() if url.startswith("http://")}
    return Held(memory, descriptors(pid, ports), gauges(text))
