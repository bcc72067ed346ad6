# The scripts that also run on Debian's systemd (tests/systemd/run), in a NixOS machine with a kernel of its own.
{ lib, pkgs, ... }:
let
  python = pkgs.python3.withPackages (p: [
    p.python-socketio
    p.websocket-client
  ]);
  scripts = ../../tests/systemd;
  tools = pkgs.runCommandLocal "castaway-test-tools" { } ''
    install -D --target-directory=$out/bin ${scripts}/guest/castaway-*
  '';
in
{
  name = "castaway-media-server";

  nodes.machine = {
    virtualisation.memorySize = 1024;
    virtualisation.credentials."castaway.google.project_id".text = "castaway-test";
    services.castaway-media-server = {
      enable = true;
      openFirewall = true;
    };
    services.journald.rateLimitInterval = "0";
    environment.systemPackages = [
      python
      tools
      pkgs.curl
      pkgs.jq
      pkgs.openssl
    ];
  };

  testScript = lib.concatMapStringsSep "\n" (name: builtins.readFile (scripts + "/${name}.py")) [
    "words"
    "service"
    "credentials"
    "kernel"
  ];
}
