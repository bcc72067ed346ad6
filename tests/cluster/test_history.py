"""The history checker itself: it believes a good history, and refuses each kind of bad one."""

import random

import pytest
from rig.history import Acked, Cut, Heard, Joined, Left, LetIn, Restored, Sent, violations


def good(seed=0):
    """A livestream as it should be: two sessions of its streamer, three listeners on three nodes, one of whom comes back."""
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


def test_returning_listener_may_hear_the_latest_clip_again():
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


def test_two_owners_at_once_are_refused():
    events = good()
    now = max(event.at for event in events) + 1
    events += [Sent(now, 1, 50), Heard(now + 0.1, "ada", 1, 1, 50)]
    assert refused(events, "two owners")


def test_a_clip_of_no_streamer_is_refused():
    events = good()
    now = max(event.at for event in events) + 1
    assert refused([*events, Heard(now, "ada", 1, 9, 0)], "never sent")


def test_clip_heard_before_it_was_sent_is_refused():
    assert refused([Heard(1, "ada", 1, 1, 0), Sent(2, 1, 0)], "before it was sent")


@pytest.mark.parametrize("seed", range(20))
def test_acknowledged_clip_that_one_listener_lacks_is_refused(seed):
    events = good(seed)
    stayed = [place for place in at(events, Heard) if events[place].listener != "bob"]
    del events[random.Random(seed).choice(stayed)]
    assert refused(events, "lost")


def test_clip_without_an_ack_may_be_lost():
    events = good()
    (ack,) = at(events, Acked, session=1, index=1)
    del events[ack]
    events = [event for event in events if not (isinstance(event, Heard) and (event.session, event.index) == (1, 1))]
    assert violations(events) == []


def test_listener_away_meanwhile_may_have_missed_a_clip():
    events = [Sent(1, 1, 0), Acked(1.5, 1, 0, 1), Joined(2, "late", 1, "a"), Joined(0, "gone", 1, "a"), Left(3, "gone", 1)]
    assert violations(events) == []


def test_listener_cut_off_last_may_have_missed_clips():
    events = [Joined(0, "ada", 1, "a"), Cut(0.5, "a"), Sent(1, 1, 0), Acked(2, 1, 0, 1)]
    assert violations(events) == []
    assert refused([*events, Restored(3, "a")], "lost")


def test_joiner_while_cut_off_is_due_all_since():
    events = [Cut(0, "a"), Joined(1, "ada", 1, "a"), Sent(2, 1, 0), Acked(2, 1, 0, 1), Restored(3, "a")]
    events += [Sent(4, 1, 1), Acked(4, 1, 1, 2), Heard(5, "ada", 1, 1, 1)]
    assert violations(events) == []
    assert refused([*events, Sent(6, 1, 2), Acked(6, 1, 2, 3)], "lost")
    assert refused([event for event in events if not isinstance(event, Heard)], "lost")


def test_joiner_after_a_cut_is_due_all_since():
    events = [Cut(0, "a"), Restored(1, "a"), Joined(1.5, "ada", 1, "a"), Sent(2, 1, 0), Acked(2, 1, 0, 1)]
    events += [Sent(4, 1, 1), Acked(4, 1, 1, 2), Heard(5, "ada", 1, 1, 1)]
    assert violations(events) == []
    assert refused([*events, Sent(6, 1, 2), Acked(6, 1, 2, 3)], "lost")
    later = [Joined(6.5, "ada", 1, "a") if isinstance(event, Joined) else event for event in events]
    assert refused([*later, Sent(7, 1, 2), Acked(7, 1, 2, 3)], "lost"), "when it has settled, from its success on"


def test_joiner_before_a_cut_is_due_all():
    events = [Joined(0, "ada", 1, "a"), Cut(1, "a"), Sent(2, 1, 0), Acked(2, 1, 0, 1), Restored(3, "a")]
    events += [Sent(4, 1, 1), Acked(4, 1, 1, 2), Heard(5, "ada", 1, 1, 1)]
    assert refused(events, "lost")


def alone():
    """b is cut off, and lets the streamer in, who spoke at a before; both have a listener."""
    return [
        *(Joined(0, who, 1, who) for who in ("a", "b")),
        *(LetIn(0, 1, "a"), Cut(1, "b"), Sent(2, 1, 0), Heard(2, "a", 1, 1, 0), Acked(2, 1, 0, 7)),
        *(LetIn(3, 2, "b"), Sent(4, 2, 0), Heard(4, "b", 1, 2, 0), Restored(5, "b")),
        *(Heard(6, "a", 1, 2, 0), Acked(6, 2, 0, 8)),
        *(Sent(20, 2, 1), Heard(20, "a", 1, 2, 1), Heard(20, "b", 1, 2, 1), Acked(20, 2, 1, 9)),
    ]


def test_streamer_cut_off_is_promised_all_listeners():
    events = alone()
    assert violations(events) == []
    for missing in (Heard(4, "b", 1, 2, 0), Heard(6, "a", 1, 2, 0)):
        assert refused([event for event in events if event != missing], "lost")


def test_listener_of_an_unconfirmed_streamer_may_miss_earlier():
    missed = [Sent(3.5, 1, 1), Heard(3.5, "a", 1, 1, 1), Acked(3.5, 1, 1, 8)]
    events = [event for event in alone() if not isinstance(event, Acked)] + missed
    assert violations(events) == []
    assert refused([event for event in events if event != Heard(3.5, "a", 1, 1, 1)], "lost")


def test_listener_of_unconfirmed_streamer_is_due_later_ones():
    after = [LetIn(6, 3, "a"), *(Sent(at, 3, index) for index, at in enumerate((7, 20)))]
    after += [Heard(at, who, 1, 3, index) for index, at in enumerate((7, 20)) for who in ("a", "b")]
    after += [Acked(at, 3, index, 8 + index) for index, at in enumerate((7, 20))]
    events = [event for event in alone() if event.at < 6] + after
    assert violations(events) == []
    for missing in [event for event in after if isinstance(event, Heard)]:
        assert refused([event for event in events if event != missing], "lost")


def test_confirmed_streamer_is_promised_all_listeners_again():
    assert refused([event for event in alone() if event != Heard(20, "a", 1, 2, 1)], "lost")
    assert refused([*alone(), Sent(21, 2, 2), Heard(21, "a", 1, 2, 2), Acked(21, 2, 2, 10)], "lost")


def test_listener_of_no_unconfirmed_streamer_is_due_all():
    events = [*alone(), Joined(0, "other", 1, "b")]
    assert refused(events, "lost")


def test_order_comes_before_what_was_missed():
    assert refused([*alone(), Heard(21, "b", 1, 1, 0)], "two owners")


def test_sequences_go_on_once_it_is_settled():
    assert refused([*alone()[:-1], Acked(20, 2, 1, 7)], "sequence")


def test_an_end_that_nobody_asked_for_is_refused():
    assert refused([*good(), Left(99, "ada", 1, told=True)], "ended")


@pytest.mark.parametrize("sequence", [0, 1])
def test_a_sequence_that_does_not_rise_is_refused(sequence):
    events = [Sent(1, 1, 0), Acked(1, 1, 0, 1), Sent(2, 2, 0), Acked(2, 2, 0, sequence)]
    assert refused(events, "sequence")


def test_a_clip_acknowledged_twice_is_refused():
    assert refused([Sent(1, 1, 0), Acked(1, 1, 0, 1), Acked(2, 1, 0, 2)], "acknowledged twice")
