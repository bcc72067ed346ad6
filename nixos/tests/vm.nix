# The script that also runs on Debian's systemd (see tests/systemd/README.md), in a NixOS machine.
{ config, pkgs, ... }:
let
  tools = pkgs.runCommandLocal "castaway-test-tools" { } ''
    mkdir -p $out/bin
    cp ${../../tests/systemd/guest}/castaway-* $out/bin/
    patchShebangs $out/bin
  '';
in
{
  name = "castaway-media-server";

  nodes.machine = {
    virtualisation.memorySize = 1024;
    virtualisation.credentials."castaway.google.api_key".text = "an-api-key-from-the-machine";
    services.castaway-media-server = {
      enable = true;
      openFirewall = true;
    };
    environment.systemPackages = [
      tools
      pkgs.curl
      pkgs.jq
      pkgs.openssl
      (pkgs.python3.withPackages (p: [
        p.python-socketio
        p.websocket-client
      ]))
    ];
  };

  testScript = builtins.readFile ../../tests/systemd/service.py;
}
