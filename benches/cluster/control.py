"""The control page while thousands listen: how soon it shows them, what it costs the nodes, whether an act is quick.

    benches/cluster/run --control NUMBER… [--livestreams NUMBER]

Half of so many listeners are in one livestream, the others are spread; all are on one of two nodes. The page is opened in
Chromium on that node, and then on the other one. Prints a row for each node and number.
"""

import asyncio
import json
import os
from pathlib import Path

import drain
import scale
from rig import operator
from rig.cluster import Cluster
from rig.redis import Redis

PACE = 5
"""Seconds between two clips of a livestream."""
SECONDS = 20
"""For which the cost is measured."""
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = Path(__file__).with_name("control.js")


def processor(node):
    """Seconds of processor time so far."""
    fields = Path(f"/proc/{node.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


class Page:
    """The control page in a browser, which does what it is told, a line each."""

    @classmethod
    async def open(cls, node):
        page = cls()
        page.process = await asyncio.create_subprocess_exec(
            *["node", str(PAGE), f"{node.server.health}/control", operator.TOKEN],
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        return page

    async def does(self, *words):
        """Its answer: milliseconds that it took, and seconds of processor time of the page so far."""
        self.process.stdin.write((json.dumps(words) + "\n").encode())
        line = await asyncio.wait_for(self.process.stdout.readline(), 120)
        return json.loads(line)

    async def close(self):
        self.process.stdin.close()
        await self.process.wait()


class Control(scale.Scale):
    async def begin(self, listeners, livestreams):
        """Everybody is there; gives the livestreams, the largest first."""
        _, busy = self.cluster.nodes
        streamers = await self.streamers("control", livestreams, [busy])
        self.talking = asyncio.create_task(self.talk(streamers))
        names = [it.livestream for it in streamers]
        rest = listeners - listeners // 2
        places = [names[0]] * (listeners // 2) + [names[1 + number % (livestreams - 1)] for number in range(rest)]
        await scale.at_once(self.join(busy, "listener", name) for name in places)
        assert not any(it.gone for it in self.peers), "everybody stays"
        return names

    @staticmethod
    async def talk(streamers):
        """Spread over the time, so that they are no burst."""
        while True:
            for streamer in streamers:
                streamer.say()
                await asyncio.sleep(PACE / len(streamers))

    async def cost(self, page=None):
        """Of each node, and of the page: processor time per second, in percent."""
        nodes = self.cluster.nodes
        before = [processor(node) for node in nodes], page and (await page.does("cost"))["processor"]
        await asyncio.sleep(SECONDS)
        after = [processor(node) for node in nodes], page and (await page.does("cost"))["processor"]
        of_nodes = [100 * (late - early) / SECONDS for early, late in zip(before[0], after[0])]
        return *of_nodes, page and 100 * (after[1] - before[1]) / SECONDS

    async def row(self, node, names):
        """A row of the table."""
        page = await Page.open(node)
        try:
            await page.does("start")
            shown = await page.does("open")
            table = await self.cost(page)
            large = await page.does("show", names[0])
            details = await self.cost(page)
            ended = await page.does("end", names.pop())
            kicked = await page.does("kick", names[0])
        finally:
            await page.close()
        costs = [f"{a:.0f}, {b:.0f}, {c:.0f}" for a, b, c in (table, details)]
        times = [f"{it['took']:.0f}" for it in (shown, large, ended, kicked)]
        return [times[0], costs[0], times[1], costs[1], *times[2:]]


async def measure(counts, livestreams):
    """Prints the table."""
    redis, cluster = Redis(), None
    environment = {**scale.ENVIRONMENT, **operator.ENVIRONMENT, **drain.ONE_USER}
    try:
        await redis.start()
        cluster = await Cluster.start(redis, environment, names="ab")
        control = Control(cluster, await cluster.google.token(scale.USER))
        other, busy = cluster.nodes
        print("Costs: processor time of the other node, of the node with the listeners, and of the page, in %.\n")
        print("| listeners | page on | table, ms | costs | 1 livestream, ms | costs | end, ms | kick, ms |")
        print("|--:|---|--:|--:|--:|--:|--:|--:|", flush=True)
        for count in counts:
            names = await control.begin(count, livestreams)
            idle = await control.cost()
            print(f"| {count} | no page | | {idle[0]:.0f}, {idle[1]:.0f} | | | | |", flush=True)
            for node, name in ((busy, "their node"), (other, "the other")):
                print(f"| {count} | {name} | {' | '.join(await control.row(node, names))} |", flush=True)
            control.talking.cancel()
            await control.clear()
    finally:
        if cluster:
            await cluster.stop()
        await redis.stop()
