"""Machines in systemd-nspawn: the host's kernel, a whole systemd, a root shell in under a second.

systemd wants a plain cgroup2 tree, and the host may have a hybrid one. So each machine gets mount, pid and cgroup
namespaces of its own first, with a fresh /proc, a cgroup2 whose root is the machine's own group, and an empty /run
(where nspawn would otherwise find the host's systemd). The root is an overlay over the shared one.
"""

import contextlib
import os
import pathlib
import socket
import subprocess

from machine import Failure, Machine, note, retry

# $1 cgroup2's mount point, $2 the machine's group in it, $3 the root, $4 overlay options; the rest is the command.
IN_NAMESPACES = """
mount --make-rprivate /
mount -t proc proc /proc
umount -R /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs tmpfs /run
mount -t overlay overlay -o "$2" "$1"
shift 2
exec "$@"
"""


class Nspawn(Machine):
    kind = "nspawn"

    def prepare(self):
        self.root, self.overlay_work = self.directory / "root", self.directory / "overlay"
        self.doorstep = self.directory / "doorstep"
        for directory in (self.root, self.overlay_work, self.doorstep):
            directory.mkdir()
        self.link = f"castt{self.number}-{os.getpid() % 100000}"
        self.bridge = f"casttb-{os.getpid() % 100000}"
        mounts = (line.split() for line in open("/proc/mounts"))
        base = next((fields[1] for fields in mounts if fields[2] == "cgroup2"), None)
        if base is None:
            raise Failure("the host has no cgroup2 mounted")
        self.group = pathlib.Path(base) / f"castaway-test-{os.getpid()}-{self.name}"

    def boot(self):
        self.group.mkdir(exist_ok=True)
        (self.doorstep / "shell").unlink(missing_ok=True)
        several = len(self.context.numbers) > 1
        layers = f"lowerdir={self.context.root},upperdir={self.upper},workdir={self.overlay_work}"
        command = [
            *["bash", "-c", 'echo $$ >"$0/cgroup.procs"; exec "$@"', self.group],
            *["unshare", "--mount", "--pid", "--cgroup", "--fork", "--kill-child"],
            *["sh", "-euc", IN_NAMESPACES, "sh", self.root, layers],
            *["systemd-nspawn", "--quiet", "--boot", "--register=no", "--keep-unit", "--console=read-only"],
            *["--kill-signal=SIGRTMIN+3", "--directory", self.root, "--machine", self.name],
            f"--bind={self.doorstep}:/run/castaway-test",
            f"--network-veth-extra={self.link}:eth1" if several else "--private-network",
            *(f"--set-credential={name}:{value}" for name, value in self.node.get("credentials", {}).items()),
            *["systemd.show_status=no", "systemd.journald.forward_to_console=no"],
        ]
        with open(self.console, "ab") as console:
            self.process = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        if several:
            # No uplink and no address of its own: machines hear each other and nobody else.
            retry(lambda _: os.path.exists(f"/sys/class/net/{self.link}"), 20)
            subprocess.run(["ip", "link", "add", self.bridge, "type", "bridge"], capture_output=True)
            subprocess.run(["ip", "link", "set", self.bridge, "up"], check=True)
            subprocess.run(["ip", "link", "set", self.link, "master", self.bridge, "up"], check=True)

    def open_shell(self):
        shell = socket.socket(socket.AF_UNIX)

        def connected(_):
            if self.process.poll() is not None:
                raise Failure(f"{self.name} did not boot: {self.get_console_log()[-2000:]}")
            with contextlib.suppress(OSError):
                shell.connect(str(self.doorstep / "shell"))
                return True

        retry(connected, 60)
        return shell

    def pull_the_plug(self):
        (self.group / "cgroup.kill").write_text("1")

    def clean_up(self):
        subprocess.run(["ip", "link", "del", self.link], capture_output=True)

        def gone(_):
            with contextlib.suppress(OSError):
                for group in sorted((g for g in self.group.rglob("*") if g.is_dir()), reverse=True):
                    group.rmdir()
                self.group.rmdir()
            return not self.group.exists()

        retry(gone, 20)

    def discard(self):
        subprocess.run(["ip", "link", "del", self.bridge], capture_output=True)
        super().discard()

    def block(self):
        note(self.name, "link cut")
        subprocess.run(["ip", "link", "set", self.link, "nomaster"], check=True)

    def unblock(self):
        note(self.name, "link restored")
        subprocess.run(["ip", "link", "set", self.link, "master", self.bridge], check=True)
