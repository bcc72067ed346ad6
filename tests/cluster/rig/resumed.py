"""Whether listeners that resume heard what they were promised.

Pure: no clock, no network. The streamer says one clip after the other, each until it is acknowledged, numbered 1, 2, 3 …; a
clip that is said again has the same number, and its id. So a listener has heard exactly the acknowledged clips, each once
and in order, if what it heard has no gap while `recovered` was true.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Acknowledged:
    """The streamer was told `ok: true` of a clip."""

    at: float
    number: int


@dataclass(frozen=True)
class Asked:
    """A listener came, and asked to go on after the latest clip that it had; none: it came for the first time."""

    at: float
    listener: str
    after: int | None


@dataclass(frozen=True)
class Told:
    """The listener was told what becomes of that."""

    at: float
    listener: str
    recovered: bool
    missed: int | None = None


@dataclass(frozen=True)
class Took:
    """The listener heard a clip that it did not have."""

    at: float
    listener: str
    number: int


@dataclass(frozen=True)
class Forgot:
    """From `at` to `until` the history may have been out of reach of a node, or gone."""

    at: float
    until: float


def violations(events, kept):
    """One line for each broken promise, of histories that keep `kept` clips."""
    events = sorted(events, key=lambda event: event.at)
    for listener in dict.fromkeys(event.listener for event in events if isinstance(event, Asked)):
        yield from _of(events, listener, kept)


def _of(events, listener, kept):
    """Follows one listener. `last` is its latest clip; while `free` is true the next one may be any."""
    acknowledged, away = 0, []
    last, asked, free, told = None, None, True, True
    for event in events:
        match event:
            case Acknowledged(_, number):
                acknowledged = max(acknowledged, number)
            case Forgot():
                away.append(event)
            case Asked(_, who, after) if who == listener:
                asked, told = event, after is None
                if after is not None and after != last:
                    yield f"{listener} at {event.at:.3f} asks for the clips after {after}, its latest is {last}"
            case Told(at, who, recovered, missed) if who == listener:
                if told:
                    yield f"told twice: {listener} at {at:.3f}"
                told = True
                if recovered:
                    continue
                free = True
                lacks = acknowledged - last
                excused = any(gone.at <= at and asked.at <= gone.until for gone in away)
                # What is on its way is in no history yet, or has just come into it.
                if lacks < kept - 1 and not excused:
                    yield f"not recovered: {listener} at {at:.3f} after {last}, with {lacks} of {kept} clips missed"
                if missed is not None and abs(missed - (lacks - 1)) > 2:
                    yield f"miscounted: {listener} at {at:.3f} missed {missed}, not {lacks - 1}"
            case Took(at, who, number) if who == listener:
                if not told:
                    yield f"not told: {listener} at {at:.3f} took {number} before it was told"
                if free:
                    # The latest, when it was let in.
                    if last is not None and number <= last:
                        yield f"again: {listener} at {at:.3f} took {number} after {last}"
                elif number != last + 1:
                    kind = "missed" if number > last else "again"
                    yield f"{kind}: {listener} at {at:.3f} took {number} after {last}"
                last, free = number, False
    if last is not None and last < acknowledged:
        yield f"missed: {listener} took {last} at last, and {acknowledged} was acknowledged"
