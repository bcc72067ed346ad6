"""examples/listen.py is run as an app developer would run it."""

import sys
from pathlib import Path

from harness.children import Child
from harness.settings import SETTINGS
from harness.world import clip

EXAMPLE = Path(__file__).parents[3] / "examples" / "listen.py"
ENVIRONMENT = SETTINGS["bursts"]


async def run(world, livestream, path, url=None):
    arguments = [url or world.listeners_node.url, livestream.id, str(path)]
    token = await world.google.token("guest")
    return await Child.start(sys.executable, str(EXAMPLE), *arguments, environment={"TOKEN": token})


async def ended(example):
    code = await example.process.wait()
    await example.reading
    return code


async def test_listening_example_writes_every_clip(world, tmp_path):
    livestream = await world.on_air(0)
    assert (await livestream.streamer.upload(clip(0)))["ok"]
    heard = tmp_path / "heard"
    example = await run(world, livestream, heard)
    while (await livestream.streamer.next("state", 30))["listeners"] != 1:
        pass
    for number in range(1, 21):
        assert (await livestream.streamer.upload(clip(number)))["ok"]
    await livestream.streamer.leave()
    assert await ended(example) == 0, example.output
    assert example.output == ""
    assert heard.read_bytes() == b"".join(clip(number) for number in range(21))


async def test_listening_example_says_why_it_was_refused(world, tmp_path):
    livestream = await world.livestream()
    example = await run(world, livestream, tmp_path / "heard")
    assert await ended(example) == 1
    assert example.output == f"Livestream {livestream.id} has not started.\n"


async def test_listening_example_names_a_server_out_of_reach(world, tmp_path):
    wire = await world.wire()
    wire.close()
    example = await run(world, await world.livestream(), tmp_path / "heard", wire.url)
    assert await ended(example) == 1
    assert example.output.startswith(f"{wire.url} cannot be reached: ")
