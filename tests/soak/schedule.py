"""Who does what and when: drawn from the seed before a round begins, so that a seed gives one schedule."""

from typing import NamedTuple

LISTENER = {
    "leave": (3, (0.1, 6)),
    "cut": (3, (0, 0)),
    "hold": (2, (0.1, 6)),
    "slow": (2, (2, 15)),
    "rejoin": (2, (0, 0)),
}
STREAMER = {
    "cut": (3, (0, 0)),
    "hold": (2, (0.1, 4)),
    "move": (2, (0, 0)),
    "flap": (5, (0.05, 0.6)),
    "slow": (2, (5, 12)),
    "listen": (4, (0, 0)),
    "rejoin": (1, (0, 0)),
    "leave": (1, (0.1, 3)),
    "desert": (0.5, (2, 4)),
}
"""By action, how often in comparison with the others, and its least and most seconds."""
PACE = {"listener": 20, "streamer": 5}
"""Seconds between two actions of one person, in the mean."""
TRANSPORTS = (["websocket"], ["websocket"], ["polling"], ["polling", "websocket"])
SIZES = ((1_000, 4_000), (1_000, 4_000), (1_000, 4_000), (16_000, 64_000))


class Step(NamedTuple):
    """At `at` seconds of the round, `person` (a place in its list) does `action`."""

    at: float
    role: str
    person: int
    action: str
    seconds: float


def steps(dice, seconds, people):
    """The steps of a round, in order; `people` says how many there are of each role."""
    drawn = []
    for role, actions in (("listener", LISTENER), ("streamer", STREAMER)):
        weights = [weight for weight, _ in actions.values()]
        for person in range(people[role]):
            at = dice.expovariate(1 / PACE[role])
            while at < seconds:
                action = dice.choices(list(actions), weights)[0]
                drawn.append(Step(at, role, person, action, dice.uniform(*actions[action][1])))
                at += dice.expovariate(1 / PACE[role])
    return sorted(drawn)


def clips(dice, seconds):
    """When a streamer uploads, and how many bytes."""
    drawn, at = [], dice.uniform(0, 1)
    while at < seconds:
        drawn.append((at, dice.randint(*dice.choice(SIZES))))
        at += dice.uniform(0.6, 1.4)
    return drawn
