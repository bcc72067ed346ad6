# The scripts that also run on Debian's systemd (tests/systemd/run), in a NixOS machine with a kernel of its own.
{ lib, ... }:
{
  imports = [ ./common.nix ];

  name = "castaway-media-server";

  nodes.machine = {
    virtualisation.memorySize = 1024;
    # As in words.py.
    services.castaway-media-server.settings.livestream.grace = "20s";
    services.journald.rateLimitInterval = "0";
  };

  testScript =
    lib.concatMapStringsSep "\n" (name: builtins.readFile (../../tests/systemd + "/${name}.py"))
      [
        "words"
        "service"
        "credentials"
        "kernel"
      ];
}
