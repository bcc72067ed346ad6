# What the machines of both tests have: the daemon, the double of Google, and the tools of tests/systemd.
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
  # The example of the package's own source, built as the package is.
  googleDouble =
    package:
    package.overrideAttrs {
      pname = "castaway-google-double";
      buildPhase = "cargo build --offline --example google-double";
      doCheck = false;
      installPhase = "install -D --target-directory=$out/bin target/debug/examples/google-double";
      postFixup = "";
    };
in
{
  defaults =
    { config, ... }:
    {
      virtualisation.credentials."castaway.google.project_id".text = "castaway-test";
      services.castaway-media-server = {
        enable = true;
        openFirewall = true;
        # As in words.py, which writes this file again after a boot.
        settings.google = {
          keys_url = "http://127.0.0.1:9000/jwks";
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
        (googleDouble config.services.castaway-media-server.package)
      ];
    };
}
