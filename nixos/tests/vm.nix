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
      # As in words.py: a boot lays this file down anew.
      settings = {
        google = {
          keys_url = "http://127.0.0.1:9000/keys";
          identity_url = "http://127.0.0.1:9000/v1";
          firestore_url = "http://127.0.0.1:9000/v1";
          token_url = "http://127.0.0.1:9000/token";
        };
        livestream.grace = "20s";
      };
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
