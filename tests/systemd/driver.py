#!/usr/bin/env python3
"""Runs NixOS-style test scripts against a real systemd, without Nix.

    driver.py --backend nspawn|qemu --root DIR [--kernel FILE] NODES.json SCRIPT.py...

The scripts run one after the other in one namespace that holds the machines by name (`machine` where there is one), and
`subtest`, `log`, `retry`, `start_all`. A subtest that fails is reported and the run goes on; one that logs a line
beginning with "skipped:" counts as skipped. Closes with `N passed, N failed, N skipped`.

A machine whose root shell or process is lost, which no script asked for, is no verdict on what is tested: what its
console said is shown, and everything is run once more on new machines.
"""

import argparse
import contextlib
import json
import os
import pathlib
import shutil
import signal
import sys
import tempfile
import time
import traceback

import machine as machines_module
from machine import Failure, note, retry
from nspawn import Nspawn
from qemu import Qemu

BACKENDS = {backend.kind: backend for backend in (Nspawn, Qemu)}


class Log:
    """Upstream's logger, and the ear for what is skipped."""

    def __init__(self):
        self.skipped = None

    def info(self, text):
        if text.startswith("skipped:"):
            self.skipped = text
        note("script", text)

    warning = error = debug = log = info


class Report:
    def __init__(self, log, machines):
        self.log, self.machines = log, machines
        self.passed, self.failed, self.skipped = 0, [], 0
        self.lost = []

    @contextlib.contextmanager
    def subtest(self, name):
        began, self.log.skipped = time.monotonic(), None
        try:
            yield
        except Exception as error:
            self.failed.append(name)
            where = traceback.extract_tb(error.__traceback__)[1:]
            place = " < ".join(f"{pathlib.Path(f.filename).name}:{f.lineno}" for f in reversed(where[:3]))
            said = f"{type(error).__name__}: {error}".rstrip()
            note("FAILED", f"{name} ({time.monotonic() - began:.1f} s)\n        at {place}\n        {said}")
            self.show_journals(time.monotonic() - began)
            return
        if self.log.skipped:
            self.skipped += 1
        else:
            self.passed += 1
            note("ok", f"{name} ({time.monotonic() - began:.1f} s)")

    def show_journals(self, seconds, lines=25):
        for m in self.machines:
            with contextlib.suppress(Failure, OSError):
                asked = f"journalctl --no-pager --quiet --output short-monotonic --lines {lines} --since=-{seconds + 1:.0f}s"
                print(f"        --- {m.name}, its journal:", m.execute(asked, timeout=20)[1].rstrip(), sep="\n")

    def closing_line(self):
        return f"{self.passed} passed, {len(self.failed)} failed, {self.skipped} skipped"


class Context:
    """What all machines of a run share."""

    def __init__(self, arguments, names):
        self.root = pathlib.Path(arguments.root).resolve()
        self.kernel = arguments.kernel
        self.verbose = arguments.verbose
        self.numbers = {name: number for number, name in enumerate(sorted(names), 1)}
        fast = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="castaway-systemd-", dir=fast))


def run(arguments, nodes):
    """One run of all scripts on machines of its own."""
    context = Context(arguments, nodes)
    log = Log()
    machines = []
    report = Report(log, machines)
    try:
        machines += [
            BACKENDS[arguments.backend](name, number, nodes[name], context) for name, number in context.numbers.items()
        ]
        note("driver", f"{len(machines)} machine(s) for {arguments.backend} in {context.work}")
        names = {m.name.replace("-", "_"): m for m in machines}
        if len(machines) == 1:
            names["machine"] = machines[0]
        names |= {
            "machines": machines,
            "subtest": report.subtest,
            "log": log,
            "retry": retry,
            "start_all": lambda: [m.start() for m in machines],
        }
        for script in arguments.scripts:
            exec(compile(pathlib.Path(script).read_text(), script, "exec"), names)
    except BaseException:
        report.failed.append("the run itself")
        traceback.print_exc()
    finally:
        report.lost = [m for m in machines if m.is_lost]
        for m in report.lost:
            note(m.name, f"was lost; its console's last words: {m.get_console_log()[-3000:]}")
        for m in machines:
            with contextlib.suppress(Failure, OSError):
                m.crash()
        if arguments.keep:
            note("driver", f"kept: {context.work}")
        else:
            for m in machines:
                m.discard()
            shutil.rmtree(context.work, ignore_errors=True)
    return report


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", choices=BACKENDS, default="nspawn")
    parser.add_argument("--root", required=True)
    parser.add_argument("--kernel")
    parser.add_argument("--keep", action="store_true", help="leave the machines' directories")
    parser.add_argument("--verbose", action="store_true", help="say every command")
    parser.add_argument("nodes")
    parser.add_argument("scripts", nargs="+")
    arguments = parser.parse_args()

    nodes = json.loads(pathlib.Path(arguments.nodes).read_text())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    report = run(arguments, nodes)
    if report.lost:
        note("driver", f"once more, since this run lost a machine: {report.closing_line()}")
        report = run(arguments, nodes)
    took = time.monotonic() - machines_module.STARTED
    for name in report.failed:
        print(f"failed: {name}")
    note("driver", f"{arguments.backend}: {took:.0f} s")
    print(f"systemd-{arguments.backend}: {report.closing_line()}")
    sys.exit(bool(report.failed))


if __name__ == "__main__":
    main()
