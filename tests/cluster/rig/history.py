"""What was seen of one livestream, event by event, and whether a cluster that keeps its promises could have done it.

Pure: no clock, no network. A clip is named by the streamer's session (each connection that was let in is one more) and its
place in that session; a listener's sitting is one connection of it. `violations` gives one line for each broken promise,
none for a good history.

A node that is cut off lets a streamer in *unconfirmed*: it cannot know whether others have one. Nothing is acknowledged until it
is confirmed. A listener who heard such a streamer is not handed afterwards what an earlier one says until then, for order comes
first. A later one's clips are due to it.
"""

from collections import defaultdict
from dataclasses import dataclass

SETTLING = 5
"""Seconds that a node may take, once its way to Redis is restored, to use it."""


@dataclass(frozen=True)
class LetIn:
    """The streamer's session began at `node`."""

    at: float
    session: int
    node: str


@dataclass(frozen=True)
class Sent:
    """The streamer put a clip on the wire."""

    at: float
    session: int
    index: int


@dataclass(frozen=True)
class Acked:
    """The streamer was told `ok: true`."""

    at: float
    session: int
    index: int
    sequence: int


@dataclass(frozen=True)
class Joined:
    """A listener was let in at `node`."""

    at: float
    listener: str
    sitting: int
    node: str


@dataclass(frozen=True)
class Heard:
    """A clip came to a listener."""

    at: float
    listener: str
    sitting: int
    session: int
    index: int


@dataclass(frozen=True)
class Left:
    """A listener's connection went; `told` by the server that the livestream is over, or just gone."""

    at: float
    listener: str
    sitting: int
    told: bool = False


@dataclass(frozen=True)
class Cut:
    """From now on `node` and Redis cannot reach each other."""

    at: float
    node: str


@dataclass(frozen=True)
class Restored:
    """They can again."""

    at: float
    node: str


def violations(events):
    """One line for each promise that this history breaks; the events in any order, of a livestream that its streamer never ended."""
    events = sorted(events, key=lambda event: event.at)
    return [*heard_wrongly(events), *_ended(events), *_lost(events), *sequences(events)]


def _of(events, kind):
    return [event for event in events if isinstance(event, kind)]


def heard_wrongly(events):
    """Twice, out of order, of a streamer that was replaced, or never said."""
    sent = {(event.session, event.index): event.at for event in _of(events, Sent)}
    sittings = defaultdict(list)
    for event in _of(events, Heard):
        sittings[event.listener, event.sitting].append(event)
    for (listener, sitting), heard in sittings.items():
        known, newest = set(), (0, -1)
        for event in heard:
            clip = (event.session, event.index)
            who = f"{listener}/{sitting} at {event.at:.3f}"
            if clip not in sent:
                yield f"never sent: {who} heard {clip}"
            elif sent[clip] > event.at:
                yield f"before it was sent: {who} heard {clip}"
            if clip in known:
                yield f"twice: {who} heard {clip}"
            elif clip[0] < newest[0]:
                yield f"two owners: {who} heard {clip} after {newest}"
            elif clip < newest:
                yield f"out of order: {who} heard {clip} after {newest}"
            known.add(clip)
            newest = max(newest, clip)


def _ended(events):
    for event in _of(events, Left):
        if event.told:
            yield f"ended: {event.listener}/{event.sitting} at {event.at:.3f} was told that the livestream is over"


def _lost(events):
    """What was acknowledged reaches who was there before it was sent and still is, at a node that has Redis."""
    stays, away = _stays(events)
    alone = _alone(events)
    left = {(event.listener, event.sitting) for event in _of(events, Left)}
    sent = {(event.session, event.index): event.at for event in _of(events, Sent)}
    heard = {(event.listener, event.sitting, event.session, event.index) for event in _of(events, Heard)}
    for stay, since in stays:
        me = (stay.listener, stay.sitting)
        if me in left or stay.node in away:
            continue
        # Streamers that this listener heard of a node, its own, that could not know of others.
        mine = {session for *who, session, _ in heard if tuple(who) == me and alone.get(session, ("", 0))[0] == stay.node}
        settled = max((alone[session][1] for session in mine), default=since)
        for ack in _of(events, Acked):
            clip = (ack.session, ack.index)
            is_after = all(ack.session >= session for session in mine)
            due = sent.get(clip, 0) > since and (is_after or ack.session in mine or sent[clip] > settled)
            if due and (*me, *clip) not in heard:
                yield f"lost: {stay.listener}/{stay.sitting} at {stay.node} never heard {clip}, sequence {ack.sequence}"


def _alone(events):
    """The sessions that began at a node that was cut off: the node, and when it has settled that at the latest."""
    since, back, alone = set(), {}, {}
    for place, event in enumerate(events):
        if isinstance(event, Cut):
            since.add(event.node)
        elif isinstance(event, Restored):
            since.discard(event.node)
            back[event.node] = event.at
        elif isinstance(event, LetIn):
            if event.node in since or back.get(event.node, -SETTLING) + SETTLING > event.at:
                alone[event.session] = (event.node, _settled(events[place:], event, event.node in since))
    return alone


def _settled(later, session, away):
    """When the node of this session has had Redis for long enough."""
    since = None if away else session.at
    for event in later:
        if isinstance(event, (Cut, Restored)) and event.node == session.node:
            if since is not None and event.at >= since + SETTLING:
                break
            since = event.at if isinstance(event, Restored) else None
    return float("inf") if since is None else since + SETTLING


def _stays(events):
    """Each who joined, with the time from which all is due to it; and the nodes that are cut off at the end.

    Who joins at a node that is cut off, or has only just been let at Redis again, is a late joiner once the node is
    back: all is due from what it hears first then. Nobody can tell such a node what had been said when it was let in.
    """
    stays, away, back = [], set(), {}
    for place, event in enumerate(events):
        if isinstance(event, Cut):
            away.add(event.node)
        elif isinstance(event, Restored):
            away.discard(event.node)
            back[event.node] = event.at
        elif isinstance(event, Joined):
            later = events[place:]
            if event.node in away:
                since = next((it.at for it in later if isinstance(it, Restored) and it.node == event.node), event.at)
            else:
                since = event.at
                later = later if back.get(event.node, -SETTLING) + SETTLING > event.at else []
            me = (event.listener, event.sitting)
            mine = (it.at for it in later if isinstance(it, Heard) and (it.listener, it.sitting) == me)
            stays.append((event, next((at for at in mine if at > since), since)))
    return stays, away


def sequences(events):
    """Later clips have higher sequences, over all sessions."""
    acks = sorted(_of(events, Acked), key=lambda event: (event.session, event.index))
    for before, after in zip(acks, acks[1:]):
        if (before.session, before.index) == (after.session, after.index):
            yield f"acknowledged twice: {(after.session, after.index)}"
    for before, after in zip(acks, acks[1:]):
        if before.sequence >= after.sequence and (before.session, before.index) != (after.session, after.index):
            clips = f"{(before.session, before.index)} then {(after.session, after.index)}"
            yield f"sequence: {clips} were acknowledged as {before.sequence} then {after.sequence}"
