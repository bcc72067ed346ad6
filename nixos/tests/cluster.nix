# One show on many machines: the module's own Valkey with a password on one, two more nodes beside it.
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
  # The double of Google answers on the loopback alone; so that all nodes meet the same one, it is carried there.
  carry = from: to: {
    wantedBy = [ "multi-user.target" ];
    wants = [ "network-online.target" ];
    after = [ "network-online.target" ];
    serviceConfig.ExecStart = "${lib.getExe pkgs.socat} TCP-LISTEN:${from},fork,reuseaddr TCP:${to}";
  };
  guest =
    { nodes, ... }:
    {
      systemd.services.castaway-carry = carry "9000,bind=127.0.0.1" "${nodes.engine.networking.primaryIPAddress}:9001";
    };
in
{
  name = "castaway-media-server-cluster";

  defaults =
    { nodes, ... }:
    {
      virtualisation.memorySize = 768;
      virtualisation.credentials."castaway.google.project_id".text = "castaway-test";
      environment.etc."castaway-cluster-url".text =
        "redis://:the-password@${nodes.engine.networking.primaryIPAddress}:6379";
      services.castaway-media-server = {
        enable = true;
        openFirewall = true;
        credentials."cluster.url" = "/etc/castaway-cluster-url";
        settings = {
          google = {
            keys_url = "http://127.0.0.1:9000/keys";
            identity_url = "http://127.0.0.1:9000/v1";
            firestore_url = "http://127.0.0.1:9000/v1";
            token_url = "http://127.0.0.1:9000/token";
          };
          livestream.grace = "60s";
        };
      };
      systemd.services.castaway-media-server.environment.GCE_METADATA_HOST = "127.0.0.1:9000";
      networking.useNetworkd = true;
      environment.systemPackages = [
        python
        tools
        pkgs.curl
        pkgs.jq
        pkgs.openssl
      ];
    };

  nodes = {
    engine =
      { config, ... }:
      {
        environment.etc."valkey-password".text = "the-password";
        services.castaway-media-server.valkey = {
          enable = true;
          address = config.networking.primaryIPAddress;
          passwordFile = "/etc/valkey-password";
        };
        networking.firewall.allowedTCPPorts = [
          6379
          9001
        ];
        systemd.services.castaway-carry = carry "9001" "127.0.0.1:9000";
      };
    one = guest;
    two = guest;
  };

  testScript = builtins.readFile (scripts + "/words.py") + builtins.readFile ./cluster.py;
}
