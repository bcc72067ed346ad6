"""A machine under test, with the part of the NixOS test driver's `machine` API that tests of a service use.

Names, arguments and meanings are upstream's (nixpkgs: nixos/lib/test-driver), so that one script runs there and here.
How a machine boots and where its root shell listens is a backend's matter: see nspawn.py and qemu.py.

**Invariant**: one command at a time. The shell answers each with one line, its output in base64 and its exit code, so
that no output can be taken for an answer.
"""

import base64
import contextlib
import pathlib
import re
import shlex
import shutil
import subprocess
import time

SHELL_READY = b"castaway-test: root shell"
STARTED = time.monotonic()


class Failure(Exception):
    """A promise of the script that was not kept."""


def note(who, text):
    print(f"{time.monotonic() - STARTED:7.2f} {who}: {text}", flush=True)


def retry(fn, timeout_seconds=900):
    """Calls `fn(last_try)` until it returns something true."""
    end = time.monotonic() + timeout_seconds
    while time.monotonic() < end:
        if fn(False):
            return
        time.sleep(0.2)
    if not fn(True):
        raise Failure(f"not within {timeout_seconds} s")


class Machine:
    """A backend adds boot(), open_shell(), pull_the_plug(), clean_up(), block() and unblock()."""

    def __init__(self, name, number, node, context):
        self.name, self.number, self.node, self.context = name, number, node, context
        self.directory = context.work / name
        self.upper = self.directory / "upper"  # what differs from the shared root
        self.upper.mkdir(parents=True)
        self.console = self.directory / "console.log"
        self.console.touch()
        self.process = self.shell = None
        self.unread = b""
        self.is_lost = False
        self.booted_at = 0.0
        self._furnish()
        self.prepare()

    def _furnish(self):
        """Writes what is this machine's own into the upper layer of its root."""
        for path, source in self.node.get("files", {}).items():
            self._install(path, pathlib.Path(source).read_bytes(), source)
        self._install("/etc/hostname", f"{self.name}\n".encode())
        hosts = "".join(f"192.168.1.{n} {name}\n" for name, n in self.context.numbers.items())
        self._install("/etc/hosts", f"127.0.0.1 localhost\n::1 localhost\n{hosts}".encode())
        self._install("/etc/castaway-test-net", f"eth1 192.168.1.{self.number}/24\n".encode())
        for unit, target in self.node.get("enable", {}).items():
            wants = self.upper / f"etc/systemd/system/{target}.wants"
            wants.mkdir(parents=True, exist_ok=True)
            (wants / unit).symlink_to(f"/usr/lib/systemd/system/{unit}")

    def _install(self, path, content, like=None):
        target = self.upper / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        target.chmod(0o755 if like and pathlib.Path(like).stat().st_mode & 0o111 else 0o644)

    def prepare(self):
        """What a backend does once, before the first boot."""

    # ---- life

    def start(self):
        if not self.process or self.process.poll() is not None:
            self.shell, self.unread, self.booted_at = None, b"", time.monotonic()
            self.boot()

    def connect(self):
        if self.shell:
            return
        self.start()
        self.shell = self.open_shell()
        self.shell.settimeout(180)
        while SHELL_READY not in self._line():
            pass
        note(self.name, f"root shell after {time.monotonic() - self.booted_at:.1f} s")

    def wait_for_shutdown(self):
        self.process.wait(180)
        self.shell = None
        self.clean_up()

    def shutdown(self):
        if self.process and self.process.poll() is None:
            self.execute("systemctl poweroff", check_output=False)
            self.wait_for_shutdown()

    def reboot(self):
        self.shutdown()
        self.start()

    def crash(self):
        """A power cut: nothing is told, nothing is flushed."""
        if self.process and self.process.poll() is None:
            note(self.name, "power cut")
            self.pull_the_plug()
            self.wait_for_shutdown()

    def get_console_log(self):
        return self.console.read_text(errors="replace")

    def wait_for_console_text(self, regex, timeout=900):
        retry(lambda _: re.search(regex, self.get_console_log()), timeout)

    # ---- commands

    def _line(self):
        while b"\n" not in self.unread:
            try:
                received = self.shell.recv(1 << 16)
            except TimeoutError:
                raise Failure(f"{self.name}: the root shell does not answer") from None
            except OSError:
                received = b""
            if not received:
                self.is_lost = True
                state = "still runs" if self.process.poll() is None else f"ended with {self.process.returncode}"
                raise Failure(f"{self.name}: the root shell is gone; the machine {state}")
            self.unread += received
        line, self.unread = self.unread.split(b"\n", 1)
        return line

    def execute(self, command, check_return=True, check_output=True, timeout=900):
        self.connect()
        quoted = shlex.quote(f"set -euo pipefail; {command}")
        if not check_output:
            self.shell.sendall(f"bash -c {quoted} </dev/null >/dev/null 2>&1 &\n".encode())
            return -2, ""
        line = f'timeout {timeout} bash -c {quoted} </dev/null | base64 -w0; echo " ${{PIPESTATUS[0]}}"\n'
        self.shell.settimeout(timeout + 60)
        with contextlib.suppress(BrokenPipeError):  # the answer that never comes says it
            self.shell.sendall(line.encode())
        output, code = self._line().split(b" ")
        return int(code), base64.b64decode(output).decode(errors="replace")

    def _run(self, commands, timeout, expected):
        outputs = ""
        for command in commands:
            began = time.monotonic()
            code, output = self.execute(command, timeout=timeout or 900)
            took = time.monotonic() - began
            if took > 1 or self.context.verbose:
                note(self.name, f"{command.strip().splitlines()[0][:100]} [{took:.1f} s, {code}]")
            if (code == 0) != expected:
                verb = "failed" if expected else "succeeded"
                raise Failure(f"{self.name}: `{command}` {verb} with exit code {code}; its output: {output[-3000:]}")
            outputs += output
        return outputs

    def succeed(self, *commands, timeout=None):
        return self._run(commands, timeout, True)

    def fail(self, *commands, timeout=None):
        return self._run(commands, timeout, False)

    def wait_until_succeeds(self, command, timeout=900):
        return self._wait_until(command, timeout, True)

    def wait_until_fails(self, command, timeout=900):
        return self._wait_until(command, timeout, False)

    def _wait_until(self, command, timeout, expected):
        code, output = 0, ""

        def reached(last_try):
            nonlocal code, output
            code, output = self.execute(command, timeout=timeout)
            if last_try and (code == 0) != expected:
                raise Failure(
                    f"{self.name}: not within {timeout} s: `{command}`, exit code {code}; its output: {output[-3000:]}"
                )
            return (code == 0) == expected

        retry(reached, timeout)
        return output

    def sleep(self, secs):
        time.sleep(secs)

    # ---- units, ports, files

    def systemctl(self, query):
        return self.execute(f"systemctl {query}")

    def get_unit_info(self, unit):
        shown = self.succeed(f"systemctl --no-pager show {shlex.quote(unit)}")
        return dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)

    def get_unit_property(self, unit, property):
        return self.succeed(f"systemctl show --value --property {property} {shlex.quote(unit)}").strip()

    def wait_for_unit(self, unit, timeout=900):
        def active(_):
            state = self.get_unit_property(unit, "ActiveState")
            if state == "failed":
                raise Failure(f"{unit} failed")
            if state == "inactive" and "No jobs" in self.systemctl("list-jobs --full 2>&1")[1]:
                if self.get_unit_property(unit, "ActiveState") == "inactive":
                    raise Failure(f"{unit} is inactive, and nothing is about to start it")
            return state == "active"

        retry(active, timeout)

    def require_unit_state(self, unit, require_state="active"):
        state = self.get_unit_property(unit, "ActiveState")
        if state != require_state:
            raise Failure(f"{unit} is {state}, not {require_state}")

    def start_job(self, jobname):
        return self.systemctl(f"start {jobname}")

    def stop_job(self, jobname):
        return self.systemctl(f"stop {jobname}")

    def wait_for_open_port(self, port, addr="localhost", timeout=900):
        self.wait_until_succeeds(f"timeout 5 bash -c '</dev/tcp/{addr}/{port}' 2>/dev/null", timeout)

    def wait_for_closed_port(self, port, addr="localhost", timeout=900):
        self.wait_until_fails(f"timeout 5 bash -c '</dev/tcp/{addr}/{port}' 2>/dev/null", timeout)

    def wait_for_file(self, filename, timeout=900):
        self.wait_until_succeeds(f"test -e {shlex.quote(filename)}", timeout)

    def copy_from_host(self, source, target):
        packed = subprocess.run(
            ["tar", "-C", source, "-czf", "-", "."]
            if pathlib.Path(source).is_dir()
            else ["tar", "-C", pathlib.Path(source).parent, "-czf", "-", pathlib.Path(source).name],
            check=True,
            capture_output=True,
        ).stdout
        name = "." if pathlib.Path(source).is_dir() else shlex.quote(pathlib.Path(source).name)
        self.connect()
        text = base64.encodebytes(packed).decode()
        self.shell.sendall(f"base64 -d >/tmp/copied <<'END'\n{text}END\n".encode())
        to = shlex.quote(target)
        self.succeed(
            f"d=$(mktemp -d); tar -C $d -xzf /tmp/copied; rm /tmp/copied; mkdir -p $(dirname {to}); cp -a -T $d/{name} {to}; rm -r $d"
        )

    def discard(self):
        with contextlib.suppress(OSError):
            shutil.rmtree(self.directory)
