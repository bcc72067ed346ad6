# What the machines of both tests have: the daemon, a double of Google on the loopback, and the tools of tests/systemd.
{ pkgs, ... }:
let
  python = pkgs.python3.withPackages (p: [
    p.python-socketio
    p.websocket-client
  ]);
  tools = pkgs.runCommandLocal "castaway-test-tools" { nativeBuildInputs = [ python ]; } ''
    install -D --target-directory=$out/bin ${../../tests/systemd/guest}/*
    patchShebangs $out/bin
  '';
in
{
  defaults = {
    virtualisation.credentials."castaway.google.project_id".text = "castaway-test";
    services.castaway-media-server = {
      enable = true;
      openFirewall = true;
      # As in words.py, which writes this file again after a boot.
      settings.google = {
        keys_url = "http://127.0.0.1:9000/keys";
        identity_url = "http://127.0.0.1:9000/v1";
        firestore_url = "http://127.0.0.1:9000/v1";
        token_url = "http://127.0.0.1:9000/token";
      };
    };
    environment.systemPackages = [
      python
      tools
      pkgs.curl
      pkgs.jq
      pkgs.openssl
    ];
  };
}
