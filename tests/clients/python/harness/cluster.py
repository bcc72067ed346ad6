"""With CASTAWAY_CLUSTER_ENGINE, a Redis URL, each world has two nodes: streamers come to one, listeners to the other."""

import itertools
import json
import os
from pathlib import Path

ENGINE = os.environ.get("CASTAWAY_CLUSTER_ENGINE")
ABOUT_ONE_PROCESS = json.loads((Path(__file__).parents[2] / "one-process.json").read_text())["python"] if ENGINE else {}
"""By name, why a test is skipped on a cluster."""
COUNT = itertools.count(1)


class NewCluster:
    """A cluster of a world's own."""

    def __init__(self):
        self.prefix = f"castaway-{self._name()}"

    def _name(self):
        return f"py-{os.getpid()}-{next(COUNT)}"

    def node(self):
        """The environment of one more node; nothing without an engine."""
        if not ENGINE:
            return {}
        return {
            "CASTAWAY_CLUSTER__URL": ENGINE,
            "CASTAWAY_CLUSTER__PREFIX": self.prefix,
            "CASTAWAY_CLUSTER__NODE": self._name(),
            "CASTAWAY_CLUSTER__LEASE": "2s",
            "CASTAWAY_CLUSTER__HEARTBEAT": "250ms",
            "CASTAWAY_CLUSTER__TIMEOUT": "500ms",
            # For bursts that no phone sends.
            "CASTAWAY_CLUSTER__QUEUE_CLIPS": "1000",
        }
