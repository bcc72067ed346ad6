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

  # That there is one complaint, and that it says so.
  complaintsAbout =
    options: words: map (a: lib.hasInfix words a.message) (complaints (of options)) == [ true ];

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
  clustered = of { settings.cluster.url = "rediss://10.0.0.3:6379"; };
  secretly = of { credentials."cluster.url" = "/run/keys/cluster-url"; };
  local = of { valkey.enable = true; };
  shared = of {
    valkey = {
      enable = true;
      address = "10.0.0.7";
      passwordFile = "/run/keys/valkey-password";
    };
    credentials."cluster.url" = "/run/keys/cluster-url";
  };
  recording = of {
    settings.recording = {
      url = "file:///srv/recordings";
      podcast = "gs://podcasts";
      spool_bytes = 1073741824;
    };
  };
  google = (evaluate { imports = [ ../gce.nix ]; }).config;
  unmonitored =
    (evaluate {
      imports = [ ../gce.nix ];
      services.castaway-media-server.monitoring.enable = false;
    }).config;
  # A percentage, as a number.
  memoryMax =
    config: name:
    lib.toInt (lib.removeSuffix "%" config.systemd.services.${name}.serviceConfig.MemoryMax);
  server = config: config.services.redis.servers.castaway;
  watched = of { prometheus.enable = true; };
  watchedAll = of {
    prometheus = {
      enable = true;
      targets = [ "10.0.0.1:8080" ];
      runbooks = "https://wiki.example.org/castaway";
    };
  };
  scrapes = config: (lib.head config.services.prometheus.scrapeConfigs).static_configs;
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
    "the proxy logs no request" =
      proxied.services.caddy.virtualHosts."live.example.org".logFormat == null
      && lib.hasInfix "exclude http.log http.handlers" proxied.services.caddy.logFormat;
    "a switch restarts the proxy in one step, and it never gives up" =
      !proxied.systemd.services.caddy.stopIfChanged
      && proxied.systemd.services.caddy.startLimitIntervalSec == 0;
    "the daemon and the proxy leave memory to the machine" =
      memoryMax proxied "caddy" + memoryMax proxied "castaway-media-server" <= 85;
    "without a proxy the limit is the unit's own" =
      !plain.systemd.services.castaway-media-server.serviceConfig ? MemoryMax;
    "on Compute Engine a switch restarts the copy of secrets in one step" =
      !google.systemd.services.castaway-credentials.stopIfChanged;
    "on Compute Engine old generations are collected" =
      google.nix.gc.automatic && google.nix.gc.options == "--delete-older-than 14d";
    "on Compute Engine a plain nixos-rebuild is refused" =
      lib.hasPrefix "throw " google.environment.etc."nixos/configuration.nix".text
      &&
        google.virtualisation.googleComputeImage.configFile
        == toString google.environment.etc."nixos/configuration.nix".source;
    "on Compute Engine the daemon's metrics are collected from its health port" =
      lib.elem "127.0.0.1:8080"
        (
          lib.concatMap (
            scrape: (lib.head scrape.static_configs).targets
          ) google.services.opentelemetry-collector.settings.receivers.prometheus.config.scrape_configs
        );
    "metrics are collected only where that is asked for" =
      !unmonitored.services.opentelemetry-collector.enable
      && !unmonitored.services.prometheus.exporters.node.enable
      && !plain.services.opentelemetry-collector.enable;
    "the exporter of the machine answers the machine alone" =
      google.services.prometheus.exporters.node.listenAddress == "127.0.0.1";
    "a local Prometheus scrapes the daemon and has the package's alerts, where that is asked for" =
      plain.services.prometheus.scrapeConfigs == [ ]
      && plain.services.prometheus.ruleFiles == [ ]
      && (lib.head (scrapes watched)).targets == [ "127.0.0.1:8080" ]
      && lib.hasSuffix "/share/castaway-media-server/prometheus-rules.yml" (
        toString (lib.head watched.services.prometheus.ruleFiles)
      );
    "a local Prometheus may scrape all nodes, and alerts may name a page of the operator's" =
      (lib.head (scrapes watchedAll)).targets == [ "10.0.0.1:8080" ]
      && lib.hasSuffix "castaway-media-server-rules.yml" (
        toString (lib.head watchedAll.services.prometheus.ruleFiles)
      );
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
    "without a cluster there is no Redis" =
      plain.services.redis.servers == { }
      && plain.services.castaway-media-server.settings.cluster.url == null;
    "a Redis without a password may stand in the settings" =
      complaints clustered == [ ]
      && clustered.services.castaway-media-server.settings.cluster.url == "rediss://10.0.0.3:6379";
    "a Redis with a password is a credential, and refused in the settings" =
      complaints secretly == [ ]
      &&
        secretly.systemd.services.castaway-media-server.serviceConfig.LoadCredential == [
          "castaway.cluster.url:/run/keys/cluster-url"
        ]
      && complaintsAbout { settings.cluster.url = "redis://me:word@10.0.0.3"; } "holds a password";
    "a local Valkey is the Redis of its machine, on the loopback alone" =
      complaints local == [ ]
      && local.services.castaway-media-server.settings.cluster.url == "redis://127.0.0.1:6379"
      && (server local).settings.bind == "127.0.0.1"
      && (server local).settings.port == 6379
      && local.networking.firewall.allowedTCPPorts == plain.networking.firewall.allowedTCPPorts;
    "a local Valkey writes nothing to disk and throws nothing out" =
      (server local).settings.save == ''""''
      && !(server local).settings.appendOnly
      && (server local).settings.maxmemory-policy == "noeviction";
    "a local Valkey is Valkey, and gets up again" =
      local.services.redis.package.pname == "valkey"
      && local.systemd.services.redis-castaway.serviceConfig.Restart == "always"
      && !local.systemd.services.redis-castaway.stopIfChanged;
    "a Valkey for other machines has a password, which is not in the settings" =
      complaints shared == [ ]
      && (server shared).settings.bind == "127.0.0.1 10.0.0.7"
      && (server shared).requirePassFile == "/run/keys/valkey-password"
      && shared.services.castaway-media-server.settings.cluster.url == null
      && complaintsAbout {
        valkey = {
          enable = true;
          address = "10.0.0.7";
        };
      } "needs a password"
      && complaintsAbout {
        valkey = {
          enable = true;
          passwordFile = "/run/keys/valkey-password";
        };
        settings.cluster.url = "redis://10.0.0.3:6379";
      } "passwordFile is set";
    "a local Valkey and another Redis are refused" =
      complaintsAbout {
        valkey.enable = true;
        settings.cluster.url = "redis://10.0.0.3:6379";
      } "names another"
      && complaintsAbout {
        valkey.enable = true;
        credentials."cluster.url" = "/run/keys/cluster-url";
      } "would win";
    "the daemon may write into a directory of recordings, and into no other" =
      recording.systemd.services.castaway-media-server.serviceConfig.ReadWritePaths == [
        "/srv/recordings"
      ]
      && !plain.systemd.services.castaway-media-server.serviceConfig ? ReadWritePaths;
    "a spool of no bytes is refused" =
      refused
        (of {
          settings.recording.spool_bytes = 0;
        }).services.castaway-media-server.settings.recording.spool_bytes;
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
