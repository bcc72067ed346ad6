# Promises of the module that evaluation alone can keep: a broken one is an error of `nix flake check --no-build`.
{ pkgs, evaluate }:
let
  inherit (pkgs) lib;
  daemon = options: {
    services.castaway-media-server = {
      enable = true;
    }
    // options;
  };
  of = options: (evaluate (daemon options)).config;
  refused = value: !(builtins.tryEval (builtins.deepSeq value true)).success;
  # Of this module: the machines here have neither a disk nor a boot loader.
  complaints =
    config:
    lib.filter (
      a: !a.assertion && lib.hasPrefix "services.castaway-media-server" a.message
    ) config.assertions;

  plain = of { };
  alone = of {
    socketActivation = false;
    openFirewall = true;
    settings.server.listen = "0.0.0.0:4000";
  };
  proxied = of {
    openFirewall = true;
    tls.domain = "live.example.org";
    settings.server.health_listen = "[::]:9090";
  };
  secretive = of {
    credentials = {
      "google.api_key" = "/run/keys/api-key";
      PRIVATE_KEY = "/run/keys/private-key";
    };
  };
  louder = of { settings.log.level = "debug"; };
  longer = of { settings.livestream.grace = "60s"; };
  triggers = config: config.systemd.services.castaway-media-server.restartTriggers;
  reloads = config: config.systemd.services.castaway-media-server.reloadTriggers;

  promises = {
    "no port is open unless it was asked for" =
      !lib.elem 3000 plain.networking.firewall.allowedTCPPorts;
    "the sockets are systemd's by default" =
      plain.systemd.sockets.castaway-media-server.enable
      && plain.systemd.sockets.castaway-media-server-health.enable;
    "a switch restarts the daemon and leaves its sockets alone" =
      !plain.systemd.services.castaway-media-server.stopIfChanged;
    "without socket activation both sockets are masked" =
      !alone.systemd.sockets.castaway-media-server.enable
      && !alone.systemd.sockets.castaway-media-server-health.enable;
    "the firewall follows the configured ports" =
      alone.networking.firewall.allowedTCPPorts == [
        4000
        8080
      ];
    "behind a proxy the daemon's own port is not open" =
      proxied.networking.firewall.allowedTCPPorts == [
        80
        443
        9090
      ];
    "behind a proxy the daemon listens on the loopback" =
      proxied.systemd.sockets.castaway-media-server.listenStreams == [
        ""
        "127.0.0.1:3000"
      ];
    "the proxy is sent where the daemon listens" =
      lib.hasInfix "reverse_proxy 127.0.0.1:3000"
        proxied.services.caddy.virtualHosts."live.example.org".extraConfig;
    "a credential is loaded under the name that the daemon knows" =
      secretive.systemd.services.castaway-media-server.serviceConfig.LoadCredential == [
        "PRIVATE_KEY:/run/keys/private-key"
        "castaway.google.api_key:/run/keys/api-key"
      ];
    "a credential in the store is refused" =
      refused
        (of {
          credentials."google.api_key" = "${pkgs.writeText "a-secret" "x"}";
        }).systemd.services.castaway-media-server.serviceConfig.LoadCredential;
    "a secret in the settings is refused" =
      complaints plain == [ ]
      &&
        lib.length (
          complaints (of {
            settings.google.api_key = "x";
          })
        ) == 1;
    "an address without a port is refused" =
      refused
        (of {
          settings.server.listen = "0.0.0.0";
        }).systemd.sockets.castaway-media-server.listenStreams;
    "a new log level reloads and does not restart" =
      triggers plain == triggers louder && reloads plain != reloads louder;
    "a new grace restarts" = triggers plain != triggers longer;
  };
  broken = lib.attrNames (lib.filterAttrs (_: kept: !kept) promises);
in
if broken == [ ] then
  pkgs.runCommandLocal "castaway-media-server-module" { kept = lib.attrNames promises; } "touch $out"
else
  throw "services.castaway-media-server breaks its promises: ${lib.concatStringsSep "; " broken}"
