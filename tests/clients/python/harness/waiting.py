"""Waiting for what was promised, with a deadline; and watching that it stays so."""

import asyncio
import inspect
import time


async def _answer(holds):
    answer = holds()
    return await answer if inspect.isawaitable(answer) else answer


async def until(holds, what, seconds=8):
    """Asks again until `holds` (a function or a coroutine's) is true, and gives its answer."""
    end = time.monotonic() + seconds
    while not (answer := await _answer(holds)):
        said = what() if callable(what) else what
        assert time.monotonic() < end, f"not in {seconds} s: {said}"
        await asyncio.sleep(0.02)
    return answer


async def throughout(holds, what, seconds):
    """Asks all the time: it must be true, and stay true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert await _answer(holds), f"it did not stay so: {what}"
        await asyncio.sleep(0.05)
