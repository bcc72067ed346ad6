# One livestream on many machines: the module's own Valkey with a password on one, two more nodes beside it.
{ lib, pkgs, ... }:
let
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
      systemd.services.castaway-carry = carry "9000,bind=127.0.0.1" "${nodes.valkey.networking.primaryIPAddress}:9001";
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
          9001
        ];
        systemd.services.castaway-carry = carry "9001" "127.0.0.1:9000";
      };
    one = guest;
    two = guest;
  };

  testScript = builtins.readFile ../../tests/systemd/words.py + builtins.readFile ./cluster.py;
}
