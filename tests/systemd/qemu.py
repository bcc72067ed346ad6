"""Machines in qemu, fully emulated: slow, and with a kernel of their own, for what a shared one cannot show.

No KVM, even where there is some: nested, it crashes Linux guests. The kernel is booted without an initrd, so the root
is on nvme, which it has built in; everything else is virtio by name. Nothing reaches the outside: the machines share a
hub in this process, and have no other network.
"""

import base64
import contextlib
import os
import selectors
import signal
import socket
import subprocess
import threading

from machine import Machine, note

KERNEL_ARGUMENTS = (
    "console=ttyS0 root=/dev/nvme0n1 rootfstype=ext4 rw quiet panic=-1 net.ifnames=0 mitigations=off "
    "modules_load=virtio_net,virtio_rng,qemu_fw_cfg systemd.wants=castaway-test-shell@hvc0.service "
    "systemd.show_status=no systemd.getty_auto=no systemd.journald.forward_to_console=no"
)


class Hub(threading.Thread):
    """Joins the machines: each port is a pair of datagram sockets, one datagram one Ethernet frame."""

    def __init__(self):
        super().__init__(daemon=True)
        self.ports, self.cut, self.selector = {}, set(), selectors.DefaultSelector()

    def plug_in(self, number):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        ours.setblocking(False)
        if old := self.ports.pop(number, None):
            self.selector.unregister(old)
            old.close()
        self.ports[number] = ours
        self.selector.register(ours, selectors.EVENT_READ, number)
        if not self.is_alive():
            self.start()
        return theirs

    def run(self):
        while True:
            for key, _ in self.selector.select(0.5):
                with contextlib.suppress(OSError):
                    self._spread(key.data, key.fileobj.recv(1 << 17))

    def _spread(self, sender, frame):
        for number, port in list(self.ports.items()):
            if number != sender and not {number, sender} & self.cut:
                with contextlib.suppress(OSError):  # full: lost, as on a wire
                    port.send(frame)


class Qemu(Machine):
    kind = "qemu"
    hub = Hub()

    def prepare(self):
        self.disk = self.directory / "disk"
        merged, work = self.directory / "merged", self.directory / "overlay"
        merged.mkdir()
        work.mkdir()
        layers = f"lowerdir={self.context.root},upperdir={self.upper},workdir={work}"
        script = (
            'mount --make-rprivate /; mount -t overlay overlay -o "$1" "$2"; '
            'mkfs.ext4 -q -F -E root_owner=0:0,lazy_itable_init=1 -d "$2" "$3" "$4" >/dev/null'
        )
        size = self.node.get("disk", "1536M")
        subprocess.run(["unshare", "--mount", "sh", "-euc", script, "sh", layers, merged, self.disk, size], check=True)

    def boot(self):
        self.our_shell, shell = socket.socketpair()
        wire = self.hub.plug_in(self.number)
        command = [
            *["qemu-system-x86_64", "-name", self.name, "-accel", "tcg", "-cpu", "max,-cx16"],
            *["-m", self.node.get("memory", 512), "-smp", self.node.get("cpus", 2)],
            *["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"],
            *["-kernel", self.context.kernel, "-append", KERNEL_ARGUMENTS],
            # cache=writethrough: what the guest was told is on the disk survives the power cut.
            *["-drive", f"file={self.disk},if=none,id=root,format=raw,cache=writethrough"],
            *["-device", "nvme,drive=root,serial=root", "-device", "virtio-rng-pci"],
            *["-chardev", f"file,id=console,path={self.console},append=on", "-serial", "chardev:console"],
            *["-chardev", f"socket,id=shell,fd={shell.fileno()}", "-device", "virtio-serial-pci"],
            *["-device", "virtconsole,chardev=shell"],
            # The guest's route to nowhere (restrict), then the hub as eth1.
            *["-netdev", "user,id=user,restrict=on", "-device", "virtio-net-pci,netdev=user"],
            *["-netdev", f"dgram,id=hub,local.type=fd,local.str={wire.fileno()}"],
            *["-device", f"virtio-net-pci,netdev=hub,mac=52:54:00:12:01:{self.number:02x}"],
        ]
        for name, value in self.node.get("credentials", {}).items():
            encoded = base64.b64encode(value.encode()).decode()
            command += ["-smbios", f"type=11,value=io.systemd.credential.binary:{name}={encoded}"]
        self.process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            pass_fds=[shell.fileno(), wire.fileno()],
            start_new_session=True,
        )
        shell.close()
        wire.close()

    def open_shell(self):
        return self.our_shell

    def pull_the_plug(self):
        os.kill(self.process.pid, signal.SIGKILL)

    def clean_up(self):
        self.our_shell.close()

    def block(self):
        note(self.name, "link cut")
        self.hub.cut.add(self.number)

    def unblock(self):
        note(self.name, "link restored")
        self.hub.cut.discard(self.number)
