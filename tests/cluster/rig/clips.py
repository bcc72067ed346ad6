"""Clips that say where they come from, and of which every byte can be told to be right."""

import functools
import random
import re
from typing import NamedTuple

HEAD = re.compile(rb"clip of (\S+) session (\d+) index (\d+) number (\d+) bytes (\d+)\n")


class Stamp(NamedTuple):
    """The streamer's session, the place in it, and the number of what was said, which is the same when it is said again."""

    livestream: str
    session: int
    index: int
    number: int
    size: int

    def clip(self):
        """The clip's bytes; at least its head."""
        return made(self)

    @property
    def place(self):
        return (self.session, self.index)


@functools.lru_cache(maxsize=64)
def made(stamp):
    """The bytes that a stamp stands for."""
    head = b"clip of %s session %d index %d number %d bytes %d\n" % (stamp.livestream.encode(), *stamp[1:])
    dice = random.Random(str(stamp))
    return head + dice.randbytes(max(0, stamp.size - len(head)))


def stamp_of(data):
    """The stamp of a clip that was heard; fails when a byte of it is not as it was made."""
    match = HEAD.match(data)
    assert match, f"no clip of ours: {bytes(data[:80])!r}"
    stamp = Stamp(match[1].decode(), *map(int, match.groups()[1:]))
    assert bytes(data) == stamp.clip(), f"not byte for byte: {stamp}"
    return stamp
