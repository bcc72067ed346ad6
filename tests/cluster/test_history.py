"""The history checker itself: it believes a good history, and refuses each kind of bad one."""

import random

import pytest

from rig.history import Acked, Cut, Heard, Joined, Left, Restored, Sent, violations


def good(seed=0):
    """A show as it should be: two sessions of its host, three listeners on three nodes, one of whom comes back."""
    dice = random.Random(seed)
    events, now, sequence = [], 0.0, 0
    nodes = {"ada": ("a", 1), "bob": ("b", 1), "cleo": ("c", 1)}
    events += [Joined(now, listener, sitting, node) for listener, (node, sitting) in nodes.items()]
    for session in (1, 2):
        for index in range(dice.randint(3, 8)):
            now += dice.uniform(0.5, 1)
            sequence += 1
            events.append(Sent(now, session, index))
            for listener, (_, sitting) in nodes.items():
                events.append(Heard(now + dice.uniform(0.1, 0.4), listener, sitting, session, index))
            events.append(Acked(now + dice.uniform(0.1, 0.4), session, index, sequence))
        if session == 1:
            last = index
            events += [Left(now + 0.41, "bob", 1), Joined(now + 0.42, "bob", 2, "c")]
            events += [Heard(now + 0.43, "bob", 2, 1, last)]
            nodes["bob"] = ("c", 2)
    return events


def refused(events, kind):
    found = violations(events)
    return bool(found) and all(line.startswith(kind) for line in found)


def at(events, kind, **fields):
    """The places of the events of a kind with these fields."""
    return [
        place
        for place, event in enumerate(events)
        if isinstance(event, kind) and all(getattr(event, name) == value for name, value in fields.items())
    ]


@pytest.mark.parametrize("seed", range(20))
def test_a_good_history_is_believed(seed):
    assert violations(good(seed)) == []


def test_an_empty_history_is_believed():
    assert violations([]) == []


def test_a_returning_listener_may_hear_the_latest_clip_again():
    events = good()
    assert [event for event in events if isinstance(event, Heard) and event.sitting == 2 and event.session == 1]
    assert violations(events) == []


def test_a_clip_heard_twice_is_refused():
    events = good()
    events.append(Heard(99, "cleo", 1, 2, 1))
    assert any(line.startswith("twice") for line in violations(events))


@pytest.mark.parametrize("seed", range(20))
def test_any_clip_heard_twice_is_refused(seed):
    events = good(seed)
    again = random.Random(seed).choice([event for event in events if isinstance(event, Heard)])
    events.append(Heard(again.at + 0.001, again.listener, again.sitting, again.session, again.index))
    assert refused(events, "twice")


def test_clips_out_of_order_are_refused():
    events = good()
    (early,), (late,) = (at(events, Heard, listener="ada", session=1, index=index) for index in (1, 2))
    one, two = events[early], events[late]
    events[early] = Heard(two.at + 0.5, "ada", 1, 1, 1)
    assert any(line.startswith("out of order") for line in violations(events))
    events[early] = one
    assert violations(events) == []


def test_two_holders_at_once_are_refused():
    events = good()
    now = max(event.at for event in events) + 1
    events += [Sent(now, 1, 50), Heard(now + 0.1, "ada", 1, 1, 50)]
    assert refused(events, "two holders")


def test_a_clip_of_no_host_is_refused():
    events = good()
    now = max(event.at for event in events) + 1
    assert refused([*events, Heard(now, "ada", 1, 9, 0)], "never sent")


def test_a_clip_heard_before_it_was_sent_is_refused():
    assert refused([Heard(1, "ada", 1, 1, 0), Sent(2, 1, 0)], "before it was sent")


@pytest.mark.parametrize("seed", range(20))
def test_an_acknowledged_clip_that_one_listener_never_heard_is_refused(seed):
    events = good(seed)
    stayed = [place for place in at(events, Heard) if events[place].listener != "bob"]
    del events[random.Random(seed).choice(stayed)]
    assert refused(events, "lost")


def test_a_clip_that_was_not_acknowledged_may_be_lost():
    events = good()
    (ack,) = at(events, Acked, session=1, index=1)
    del events[ack]
    events = [event for event in events if not (isinstance(event, Heard) and (event.session, event.index) == (1, 1))]
    assert violations(events) == []


def test_who_left_or_came_later_may_have_missed_a_clip():
    events = [Sent(1, 1, 0), Acked(1.5, 1, 0, 1), Joined(2, "late", 1, "a"), Joined(0, "gone", 1, "a"), Left(3, "gone", 1)]
    assert violations(events) == []


def test_a_listener_of_a_node_that_is_cut_off_at_the_end_may_have_missed_a_clip():
    events = [Joined(0, "ada", 1, "a"), Cut(0.5, "a"), Sent(1, 1, 0), Acked(2, 1, 0, 1)]
    assert violations(events) == []
    assert refused([*events, Restored(3, "a")], "lost")


def test_an_end_that_nobody_asked_for_is_refused():
    assert refused([*good(), Left(99, "ada", 1, told=True)], "ended")


@pytest.mark.parametrize("sequence", [0, 1])
def test_a_sequence_that_does_not_rise_is_refused(sequence):
    events = [Sent(1, 1, 0), Acked(1, 1, 0, 1), Sent(2, 2, 0), Acked(2, 2, 0, sequence)]
    assert refused(events, "sequence")


def test_a_clip_acknowledged_twice_is_refused():
    assert refused([Sent(1, 1, 0), Acked(1, 1, 0, 1), Acked(2, 1, 0, 2)], "acknowledged twice")
