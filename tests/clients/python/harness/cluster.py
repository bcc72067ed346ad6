"""With CASTAWAY_CLUSTER_REDIS, a Redis URL, each world has two nodes: streamers come to one, listeners to the other."""

import itertools
import os

from .settings import SETTINGS

REDIS = os.environ.get("CASTAWAY_CLUSTER_REDIS")
ABOUT_ONE_PROCESS = SETTINGS["one_process"]["python"] if REDIS else {}
"""By name, why a test is skipped on a cluster."""
COUNT = itertools.count(1)


class NewCluster:
    """A cluster of a world's own."""

    def __init__(self):
        self.prefix = f"castaway-{self._name()}"

    def _name(self):
        return f"py-{os.getpid()}-{next(COUNT)}"

    def node(self):
        """The environment of one more node; nothing without Redis."""
        if not REDIS:
            return {}
        return {
            "CASTAWAY_CLUSTER__URL": REDIS,
            "CASTAWAY_CLUSTER__PREFIX": self.prefix,
            "CASTAWAY_CLUSTER__NODE": self._name(),
            **SETTINGS["node"],
        }
