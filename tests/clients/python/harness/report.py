"""What pytest is told for both suites that start daemons."""

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Leaves `broken` on a test that failed, so that its fixtures can show what the daemons said."""
    report = yield
    if call.when == "call":
        item.broken = report.failed
    return report
