"""What `tests/clients/run` built and made, by the names under which it hands it on."""

import os


def program(name):
    """The path that `name` of the environment holds."""
    path = os.environ.get(name)
    if not path:
        raise RuntimeError(f"{name} is not set: start these suites with tests/clients/run")
    return path
