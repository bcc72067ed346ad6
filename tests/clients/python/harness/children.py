"""Child processes: each says its first words in time, and is ended with its test."""

import asyncio
import os
import re
import signal


class Child:
    """A process, with nothing of this environment but what a daemon needs, and all that it printed."""

    @classmethod
    async def start(cls, program, *arguments, environment=None):
        child = cls()
        child.output = ""
        child.process = await asyncio.create_subprocess_exec(
            program,
            *arguments,
            env={"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], **(environment or {})},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        child.news = asyncio.Event()
        child.reading = asyncio.create_task(child._read())
        return child

    async def _read(self):
        while chunk := await self.process.stdout.read(65536):
            self.output += chunk.decode(errors="replace")
            self.news.set()
        self.news.set()

    async def says(self, pattern, seconds=15):
        """The first match of `pattern` in what the process printed."""

        async def wait():
            while not (match := re.search(pattern, self.output, re.MULTILINE)):
                if self.reading.done():
                    raise RuntimeError(f"ended before {pattern}:\n{self.output}")
                self.news.clear()
                await self.news.wait()
            return match

        try:
            return await asyncio.wait_for(wait(), seconds)
        except TimeoutError:
            raise RuntimeError(f"not in {seconds} s: {pattern}\n{self.output}") from None

    async def stop(self, how=signal.SIGTERM):
        """Sends the signal and waits for the end."""
        if self.process.returncode is None:
            self.process.send_signal(how)
        code = await self.process.wait()
        await self.reading
        return code
