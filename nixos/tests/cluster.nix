# One livestream on many machines: the module's own Valkey with a password on one, two more nodes beside it.
{ lib, pkgs, ... }:
let
  # All nodes meet one double of Google: that of the first, which is carried to the loopback of the others.
  guest =
    { nodes, ... }:
    let
      carry = port: {
        wantedBy = [ "multi-user.target" ];
        wants = [ "network-online.target" ];
        after = [ "network-online.target" ];
        serviceConfig.ExecStart = "${lib.getExe pkgs.socat} TCP-LISTEN:${port},bind=127.0.0.1,fork,reuseaddr TCP:${nodes.valkey.networking.primaryIPAddress}:${port}";
      };
    in
    {
      systemd.services.carry-google = carry "9000";
      systemd.services.carry-google-admin = carry "9001";
    };
in
{
  imports = [ ./common.nix ];

  name = "castaway-media-server-cluster";

  defaults =
    { nodes, ... }:
    {
      virtualisation.memorySize = 768;
      environment.etc."castaway-cluster-url".text =
        "redis://:the-password@${nodes.valkey.networking.primaryIPAddress}:6379";
      services.castaway-media-server = {
        credentials."cluster.url" = "/etc/castaway-cluster-url";
        settings.livestream.grace = "60s";
      };
      systemd.services.castaway-media-server.environment.GCE_METADATA_HOST = "127.0.0.1:9000";
      networking.useNetworkd = true;
    };

  nodes = {
    valkey =
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
          9000
          9001
        ];
      };
    one = guest;
    two = guest;
  };

  testScript = builtins.readFile ../../tests/systemd/words.py + builtins.readFile ./cluster.py;
}
