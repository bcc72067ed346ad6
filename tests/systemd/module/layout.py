#!/usr/bin/env python3
"""Lays the generations out as a machine's files, with Debian's programs under the store paths that they name.

    layout.py GENERATIONS.json --root DIR --caddy-unit FILE TREE

TREE becomes what the test unpacks at the machine's root: /nix/store with the package, Caddy and the tools of the units'
PATH, and /generations/NAME, each with the parts of a NixOS system that switch-to-configuration reads.
"""

import argparse
import json
import pathlib
import re
import subprocess

REPOSITORY = pathlib.Path(__file__).resolve().parents[3]
# Debian's name of a nixpkgs package, where it is another.
DEBIAN = {"gnugrep": "grep", "gnused": "sed"}
DAEMON = "castaway-media-server"

ACTIVATE = """#!/bin/sh
# As NixOS does: every path in /etc changes at once, to one of the new generation.
set -eu
for path in systemd/system castaway-media-server caddy; do
  ln -sfnT "$1/etc/$path" "/etc/$path.new"
  mv -T "/etc/$path.new" "/etc/$path"
done
ln -sfnT "$1" /run/current-system
"""
SWITCH = """#!/bin/sh
export OUT={0} TOPLEVEL={0} DISTRO_ID=debian PRE_SWITCH_CHECK=/bin/true INSTALL_BOOTLOADER=/bin/true SYSTEMD=/usr
exec /usr/local/bin/switch-to-configuration "$@"
"""
# What makeWrapper writes.
WRAPPER = """#!/bin/bash -e
export PATH={path}${{PATH:+:$PATH}}
exec -a "$0" {wrapped} "$@"
"""


def write(path, text, mode=0o644):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def link(path, target):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


def toml(settings):
    """The settings as nixpkgs' TOML generator writes them: JSON's scalars and lists are TOML's."""
    lines = []
    for section, keys in settings.items():
        lines.append(f"[{section}]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in keys.items() if value is not None]
    return "\n".join(lines) + "\n"


class Layout:
    def __init__(self, arguments):
        self.root, self.tree = arguments.root, arguments.tree
        self.caddy_unit = arguments.caddy_unit

    def at(self, path):
        return self.tree / str(path).lstrip("/")

    def tools(self, store_path):
        """`/nix/store/HASH-coreutils-9.11`, in which Debian's coreutils are found."""
        if self.at(store_path).exists():
            return
        name = re.fullmatch(r"/nix/store/[a-z0-9]{32}-([a-z-]+?)(-[0-9].*)?", store_path)[1]
        listed = subprocess.run(
            ["chroot", self.root, "dpkg", "--listfiles", DEBIAN.get(name, name)],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.split()
        programs = [path for path in listed if re.fullmatch(r"(/usr)?/s?bin/[^/]+", path)]
        for program in programs:
            link(self.at(store_path) / "bin" / pathlib.Path(program).name, program)

    def package(self, generation):
        store_path = generation["package"]
        home = self.at(store_path)
        if home.exists():
            return
        link(home / "bin" / DAEMON, f"/usr/bin/{DAEMON}")
        for unit in (REPOSITORY / "nixos/systemd").rglob("*.*"):
            if unit.suffix in (".service", ".socket", ".conf") and unit.is_file():
                text = unit.read_text()
                text = text.replace("/usr/bin/", f"{store_path}/bin/").replace(
                    "/usr/libexec/", f"{store_path}/libexec/"
                )
                write(home / "lib/systemd/system" / unit.relative_to(REPOSITORY / "nixos/systemd"), text)
        path = re.search(r"--prefix PATH : (\S+)", generation["wrapper"])[1]
        for directory in path.split(":"):
            self.tools(directory.removesuffix("/bin"))
        libexec = f"{store_path}/libexec/{DAEMON}"
        script = (REPOSITORY / "nixos/gce/fetch-credentials").read_text().split("\n", 1)[1]
        write(self.at(f"{libexec}/.fetch-credentials-wrapped"), f"#!/bin/bash\n{script}", 0o755)
        write(
            self.at(f"{libexec}/fetch-credentials"),
            WRAPPER.format(path=path, wrapped=f"{libexec}/.fetch-credentials-wrapped"),
            0o755,
        )

    def proxy(self, store_path):
        if not self.at(store_path).exists():
            link(self.at(store_path) / "bin/caddy", "/usr/local/bin/caddy")
            unit = self.caddy_unit.read_text().replace("/usr/bin/caddy", f"{store_path}/bin/caddy")
            write(self.at(store_path) / "lib/systemd/system/caddy.service", unit)

    def units(self, system, generation):
        for store_path in (generation["package"], generation["caddy"]):
            brought = self.at(store_path) / "lib/systemd/system"
            for path in sorted(brought.rglob("*.*")):
                if path.is_file():
                    relative = path.relative_to(brought)
                    link(system / relative, f"{store_path}/lib/systemd/system/{relative}")
        for name, unit in generation["units"].items():
            if not unit["fragment"] and (system / name).is_symlink():
                write(system / f"{name}.d/overrides.conf", unit["text"])
            else:
                write(system / name, unit["text"])
            for kind, targets in ("wants", unit["wantedBy"]), ("requires", unit["requiredBy"]):
                for target in targets:
                    link(system / f"{target}.{kind}/{name}", f"../{name}")

    def generation(self, name, generation):
        for store_path in generation["path"]:
            self.tools(store_path)
        self.package(generation)
        self.proxy(generation["caddy"])
        home, inside = self.at(f"/generations/{name}"), f"/generations/{name}"
        self.units(home / "etc/systemd/system", generation)
        write(home / "etc/castaway-media-server/config.toml", toml(generation["settings"]))
        write(home / "etc/castaway-media-server/secrets", generation["secrets"])
        write(home / pathlib.Path(generation["caddyPath"].lstrip("/")), generation["caddyfile"])
        write(home / "init-interface-version", "systemd 2\n")
        link(home / "etc/systemd/system.conf", "/etc/systemd/system.conf")
        write(home / "activate", ACTIVATE, 0o755)
        write(home / "bin/switch-to-configuration", SWITCH.format(inside), 0o755)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("generations", type=pathlib.Path)
    parser.add_argument("--root", type=pathlib.Path, required=True)
    parser.add_argument("--caddy-unit", type=pathlib.Path, required=True)
    parser.add_argument("tree", type=pathlib.Path)
    arguments = parser.parse_args()
    layout = Layout(arguments)
    for name, generation in json.loads(arguments.generations.read_text())["generations"].items():
        layout.generation(name, generation)


if __name__ == "__main__":
    main()
