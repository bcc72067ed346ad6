# services.castaway-media-server: the package's own units with a drop-in, a configuration file that the daemon has
# checked at build time, a proxy in front where a domain is named, and a Valkey beside it where this machine is to
# serve a cluster's Redis.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib)
    mkIf
    mkOption
    types
    ;
  cfg = config.services.castaway-media-server;
  toml = pkgs.formats.toml { };

  withoutNulls = lib.filterAttrsRecursive (_: value: value != null);
  settings = withoutNulls cfg.settings;
  unchecked = toml.generate "castaway-media-server.toml" settings;
  configFile =
    if pkgs.stdenv.buildPlatform.canExecute pkgs.stdenv.hostPlatform then
      pkgs.runCommandLocal "castaway-media-server-config.toml" { } ''
        ${lib.getExe cfg.package} check-config --config ${unchecked}
        cp ${unchecked} $out
      ''
    else
      unchecked;

  # What SIGHUP re-reads: a change of these alone reloads, any other restarts.
  onlyAtStart = settings // {
    log = removeAttrs (settings.log or { }) [ "level" ];
    upload = { };
  };

  portOf = address: lib.toInt (lib.last (lib.splitString ":" address));
  clients = cfg.settings.server.listen;
  health = cfg.settings.server.health_listen;

  secrets = [
    [
      "api"
      "token"
    ]
    [
      "google"
      "api_key"
    ]
    [
      "google"
      "private_key"
    ]
    [
      "google"
      "service_account"
    ]
    [
      "webhooks"
      "secrets"
    ]
  ];

  # The Valkey on this machine: an instance of its own, `redis-castaway.service`.
  instance = "castaway";
  isLoopback = address: lib.hasPrefix "127." address || address == "::1";
  valkeyUrl = "redis://127.0.0.1:${toString cfg.valkey.port}";
  clusterUrl = cfg.settings.cluster.url;
  # Everything else is read-only to the daemon.
  recordingDirectories = map (lib.removePrefix "file://") (
    lib.filter (url: url != null && lib.hasPrefix "file://" url) [
      cfg.settings.recording.url
      cfg.settings.recording.podcast
    ]
  );

  shippedAlerts = "${cfg.package}/share/castaway-media-server/prometheus-rules.yml";
  alerts =
    if cfg.prometheus.runbooks == null then
      shippedAlerts
    else
      pkgs.runCommandLocal "castaway-media-server-rules.yml" { inherit (cfg.prometheus) runbooks; } ''
        substitute ${shippedAlerts} $out \
          --replace-fail file://${cfg.package}/share/doc/castaway-media-server/operations.md "$runbooks"
      '';

  legacyNames = [
    "IDENTITY_SERVER_API_KEY"
    "PROJECT_ID"
    "CLIENT_EMAIL"
    "PRIVATE_KEY"
    "GOOGLE_APPLICATION_CREDENTIALS"
  ];
  credentialName =
    name:
    if lib.elem name legacyNames || lib.hasPrefix "castaway." name then name else "castaway.${name}";

  optional =
    type: description:
    mkOption {
      type = types.nullOr type;
      default = null;
      inherit description;
    };
in
{
  options.services.castaway-media-server = {
    enable = lib.mkEnableOption "the Castaway media server, a live-audio relay";

    package = mkOption {
      type = types.package;
      default = pkgs.castaway-media-server or (pkgs.callPackage ./package.nix { });
      defaultText = lib.literalExpression "pkgs.castaway-media-server";
      description = "The package that holds the daemon and its units.";
    };

    settings = mkOption {
      default = { };
      description = ''
        The configuration file, `/etc/castaway-media-server/config.toml`; every key is in the package's
        `share/doc/castaway-media-server/config.example.toml`. The daemon checks it when the system is built.
        Everybody can read it: secrets belong in {option}`services.castaway-media-server.credentials`.
      '';
      example = lib.literalExpression ''
        {
          google.project_id = "my-project";
          livestream.grace = "60s";
          upload.max_clip_bytes = 4194304;
        }
      '';
      type = types.submodule {
        freeformType = toml.type;
        options = {
          server = {
            listen = mkOption {
              type = types.strMatching ".+:[0-9]+";
              default = "[::]:3000";
              description = "Where clients connect: an address and a port. `[::]` is every address, IPv4's too.";
            };
            health_listen = mkOption {
              type = types.strMatching ".+:[0-9]+";
              default = "[::]:8080";
              description = "Where health checks and metrics are answered.";
            };
            trusted_proxies = optional (types.listOf types.str) ''
              Networks of proxies whose `X-Forwarded-For` is believed. The one that
              {option}`services.castaway-media-server.tls.domain` sets up is among them already.
            '';
            cors_origins = optional (types.listOf types.str) "Origins that browsers may connect from; `[ \"*\" ]` is any.";
          };
          google.project_id = optional types.str ''
            The Firebase project's id. Unset: from the service account or the metadata server.
          '';
          livestream = {
            grace = optional types.str "How long a livestream stays live without its streamer: `30s`, `2m`.";
            max_listeners = optional types.ints.positive "Listeners of one livestream on this machine.";
            silence_after = optional types.str "How long a livestream on air may be without a clip before its clients are warned; `0s`: for ever.";
          };
          upload.max_clip_bytes = optional types.ints.positive "The largest clip, in bytes.";
          http.pages = optional types.bool "Serve the studio and the listening page.";
          webhooks.url = optional types.str ''
            Where messages about livestreams are sent: `https`, or `http` to a loopback address. The secrets that sign them
            belong in {option}`services.castaway-media-server.credentials."webhooks.secrets"`.
          '';
          recording = {
            url = optional types.str ''
              The bucket of recordings: `gs://bucket/prefix`, `s3://bucket/prefix` or `file:///directory`; unset, nothing is
              recorded. The unit may write into such a directory, which must be there, and let the daemon's user in.
            '';
            podcast = optional types.str ''
              The app's bucket of podcasts, written likewise: recordings are copied there and registered in Firestore, for
              their streamers to publish; unset, none is.
            '';
            keep_clips = optional types.str "How long a finished recording's clips stay in the bucket: `24h`, `7days`.";
            spool_bytes = optional types.ints.positive ''
              Bytes of clips that may wait for the bucket on this machine's disk; beyond, clips are not recorded.
            '';
          };
          cluster = {
            url = optional types.str ''
              The Redis or Valkey that all nodes of a cluster share, `redis://host:6379`, or `rediss://` for TLS; unset,
              this machine is alone. A URL that holds a password is a secret: it belongs in
              {option}`services.castaway-media-server.credentials."cluster.url"`.
            '';
            node = optional types.str "This node's name in logs; the host's name if there is none.";
            prefix = optional types.str "What all keys and channels begin with: one for each deployment that shares a Redis.";
          };
          log = {
            level = optional types.str "`error`, `warn`, `info`, `debug`, `trace`, or directives by module.";
            client_address = optional types.bool "Whether clients' addresses are logged.";
          };
        };
      };
    };

    credentials = mkOption {
      type = types.attrsOf types.externalPath;
      default = { };
      description = ''
        Files that hold secrets, by the configuration's key or one of the names of old; systemd hands them to the
        daemon alone. A path in the Nix store is refused, since everybody can read it. What lies in
        `/etc/credstore` or `/run/credstore` under `castaway.<section>.<key>` is found without being named here.
      '';
      example = {
        "google.api_key" = "/run/keys/identity-api-key";
        PRIVATE_KEY = "/run/keys/service-account-key";
        "cluster.url" = "/run/keys/castaway-cluster-url";
      };
    };

    valkey = {
      enable = lib.mkEnableOption ''
        a Valkey on this machine, `redis-castaway.service`, as the Redis of a cluster. It keeps nothing on disk: what
        it holds is rebuilt by the nodes within seconds. The daemon of this machine is told of it by itself'';

      address = mkOption {
        type = types.str;
        default = "127.0.0.1";
        example = "10.132.0.7";
        description = ''
          The address on which it answers, beside the loopback: one that the other nodes reach and nobody else does.
          Then it needs {option}`services.castaway-media-server.valkey.passwordFile`, and the firewall is yours to open.
        '';
      };

      port = mkOption {
        type = types.port;
        default = 6379;
        description = "The port on which it answers.";
      };

      passwordFile = optional types.externalPath ''
        A file with its password, on one line. All nodes, this one included, then take the URL with the password from
        the credential `castaway.cluster.url`.
      '';

      maxMemory = mkOption {
        type = types.strMatching "[0-9]+(kb|mb|gb)?";
        default = "512mb";
        example = "4gb";
        description = ''
          What it may hold. At worst a livestream takes `cluster.history_bytes`, 4 MiB, and twice that just after its owner changes; beyond this limit it refuses
          what it is asked to keep, and forgets nothing.
        '';
      };
    };

    openFirewall = mkOption {
      type = types.bool;
      default = false;
      description = ''
        Whether to open the daemon's two ports, or, with {option}`services.castaway-media-server.tls.domain`, the
        proxy's (80 and 443) and the health port.
      '';
    };

    socketActivation = mkOption {
      type = types.bool;
      default = true;
      description = ''
        Whether systemd holds the ports, so that a restart refuses no connection. A change of an address then takes
        `systemctl restart castaway-media-server.socket castaway-media-server-health.socket` after the switch.
      '';
    };

    prometheus = {
      enable = lib.mkEnableOption ''
        the scrape of the daemon by the Prometheus of this machine ({option}`services.prometheus.enable`), as the job
        `castaway`, and the alerts of the package'';

      targets = mkOption {
        type = types.listOf types.str;
        default = [ "127.0.0.1:${toString (portOf health)}" ];
        defaultText = lib.literalMD "the health port of this machine";
        example = [
          "10.132.0.7:8080"
          "10.132.0.8:8080"
        ];
        description = "The health ports that are scraped: in a cluster those of all nodes.";
      };

      runbooks = optional types.str ''
        The address of a page that holds what to do for each alert, under the alert's name as a heading, such as a copy
        of `docs/operations.md`. Unset, an alert names the package's own copy, which is on this machine alone.
      '';
    };

    tls.domain = mkOption {
      type = types.nullOr types.str;
      default = null;
      example = "live.example.org";
      description = ''
        The name under which Caddy serves the daemon with TLS, with a certificate by ACME: it must resolve to this
        machine, and ports 80 and 443 must be reachable. The daemon then listens on the loopback only.
      '';
    };
  };

  config = mkIf cfg.enable (
    lib.mkMerge [
      {
        assertions =
          map (path: {
            assertion = !lib.hasAttrByPath path settings;
            message =
              "services.castaway-media-server.settings.${lib.concatStringsSep "." path} is a secret, and settings are "
              + "readable by everybody: name a file in services.castaway-media-server.credentials.\"${lib.concatStringsSep "." path}\".";
          }) secrets
          ++ [
            {
              assertion = clusterUrl == null || !(lib.hasInfix "@" clusterUrl || lib.hasInfix "pass=" clusterUrl);
              message =
                "services.castaway-media-server.settings.cluster.url holds a password, and settings are readable by "
                + "everybody: name a file in services.castaway-media-server.credentials.\"cluster.url\".";
            }
            {
              assertion = clusterUrl == null || !cfg.credentials ? "cluster.url";
              message =
                "services.castaway-media-server.credentials.\"cluster.url\" would win over settings.cluster.url"
                + lib.optionalString cfg.valkey.enable " (or the local Valkey)"
                + ": set one of them.";
            }
          ];

        environment.etc."castaway-media-server/config.toml".source = configFile;
        environment.systemPackages = [ cfg.package ];

        # Who may use `castaway-media-server ctl` besides root.
        users.groups.castaway-admin = { };

        systemd.packages = [ cfg.package ];
        # [Install] sections are not read here: wantedBy stands in for them.
        systemd.services.castaway-media-server = {
          wantedBy = [ "multi-user.target" ];
          # A plain restart leaves the sockets alone; the default stops and starts them with the service.
          stopIfChanged = false;
          reloadTriggers = [ configFile ];
          restartTriggers = [ (builtins.toJSON onlyAtStart) ];
          serviceConfig = {
            ExecStart = [
              ""
              "${lib.getExe cfg.package} serve"
            ];
            LoadCredential = lib.mapAttrsToList (name: path: "${credentialName name}:${path}") cfg.credentials;
          };
        };
        systemd.sockets = {
          castaway-media-server = {
            enable = cfg.socketActivation;
            wantedBy = [ "sockets.target" ];
            listenStreams = [
              ""
              clients
            ];
          };
          castaway-media-server-health = {
            enable = cfg.socketActivation;
            wantedBy = [ "sockets.target" ];
            listenStreams = [
              ""
              health
            ];
            socketConfig.Service = "castaway-media-server.service";
          };
          castaway-media-server-admin = {
            wantedBy = [ "sockets.target" ];
            listenStreams = [
              ""
              "/run/castaway-media-server-admin.sock"
            ];
            socketConfig.Service = "castaway-media-server.service";
          };
        };

        networking.firewall.allowedTCPPorts = mkIf cfg.openFirewall (
          [ (portOf health) ]
          ++ (
            if cfg.tls.domain == null then
              [ (portOf clients) ]
            else
              [
                80
                443
              ]
          )
        );
      }

      (mkIf cfg.valkey.enable {
        assertions = [
          {
            assertion = cfg.valkey.passwordFile != null || clusterUrl == valkeyUrl;
            message =
              "services.castaway-media-server.valkey.enable makes this machine's own Valkey the cluster's Redis, ${valkeyUrl}, "
              + "and settings.cluster.url names another: set one of them.";
          }
          {
            assertion = cfg.valkey.passwordFile == null || clusterUrl == null;
            message =
              "services.castaway-media-server.valkey.passwordFile is set, so the URL holds a password: name a file with "
              + "it in services.castaway-media-server.credentials.\"cluster.url\", and leave settings.cluster.url unset.";
          }
          {
            assertion = isLoopback cfg.valkey.address || cfg.valkey.passwordFile != null;
            message =
              "services.castaway-media-server.valkey.address is open to other machines: it needs a password, in "
              + "services.castaway-media-server.valkey.passwordFile.";
          }
        ];

        services.castaway-media-server.settings.cluster.url = mkIf (cfg.valkey.passwordFile == null) (
          lib.mkDefault valkeyUrl
        );
        # The daemon starts without Redis too: only the order is asked for.
        systemd.services.castaway-media-server = {
          wants = [ "redis-${instance}.service" ];
          after = [ "redis-${instance}.service" ];
        };

        # As for the daemon: the address may come late, and it is started again as often as it ends. A switch restarts it
        # in one step, so that the nodes are without it for a moment and not for the whole activation.
        systemd.services."redis-${instance}" = {
          stopIfChanged = false;
          wants = [ "network-online.target" ];
          after = [ "network-online.target" ];
          startLimitIntervalSec = 0;
          serviceConfig = {
            Restart = "always";
            RestartSec = "1s";
          };
        };

        services.redis = {
          package = lib.mkDefault pkgs.valkey;
          servers.${instance} = {
            enable = true;
            inherit (cfg.valkey) port;
            bind = lib.concatStringsSep " " (
              lib.unique [
                "127.0.0.1"
                cfg.valkey.address
              ]
            );
            requirePassFile = cfg.valkey.passwordFile;
            # Nothing on disk: the nodes write again what was lost.
            save = [ ];
            appendOnly = false;
            settings = {
              maxmemory = cfg.valkey.maxMemory;
              # A record that was thrown out would let a second node hold the livestream: rather no new clip is kept.
              maxmemory-policy = "noeviction";
            };
          };
        };
      })

      (mkIf (recordingDirectories != [ ]) {
        systemd.services.castaway-media-server.serviceConfig.ReadWritePaths = recordingDirectories;
      })

      (mkIf cfg.prometheus.enable {
        services.prometheus = {
          ruleFiles = [ alerts ];
          scrapeConfigs = [
            {
              job_name = "castaway";
              static_configs = [ { inherit (cfg.prometheus) targets; } ];
            }
          ];
        };
      })

      (mkIf (cfg.tls.domain != null) {
        services.castaway-media-server.settings.server = {
          listen = lib.mkDefault "127.0.0.1:3000";
          trusted_proxies = [
            "127.0.0.0/8"
            "::1/128"
          ];
        };
        networking.firewall.allowedUDPPorts = mkIf cfg.openFirewall [ 443 ];
        services.caddy = {
          enable = true;
          # Requests carry ID tokens in a header, and addresses: Caddy logs neither them nor errors about them, which hold
          # the whole request. Its own errors, such as a certificate that it cannot renew, go to the journal.
          logFormat = lib.mkDefault ''
            level ERROR
            exclude http.log http.handlers http.stdlib
          '';
          virtualHosts.${cfg.tls.domain} = {
            logFormat = null;
            # WebSockets have no timeout of their own here; the daemon's pings end the dead ones. X-Forwarded-For is set
            # by Caddy and only by Caddy. A reload of Caddy leaves open connections alone, and requests that meet the
            # daemon's restart wait for it.
            extraConfig = ''
              reverse_proxy ${clients} {
                flush_interval -1
                stream_close_delay 6h
                lb_try_duration 15s
                lb_try_interval 250ms
              }
            '';
          };
        };
        systemd.services = {
          caddy = {
            # The default stops it before the activation and starts it after: ports 80 and 443 refuse all that time.
            stopIfChanged = false;
            # As for the daemon: never give up. nixpkgs' limit of ten starts in four hours would leave clients outside.
            startLimitIntervalSec = lib.mkForce 0;
            serviceConfig = {
              RestartSec = lib.mkForce "1s";
              # Measured, a listener takes 130 KiB here and 19 in the daemon. Past this limit the kernel kills Caddy, not
              # the machine; Caddy reads the limit and collects garbage before it.
              MemoryMax = lib.mkDefault "50%";
            };
          };
          castaway-media-server.serviceConfig.MemoryMax = lib.mkDefault "35%";
        };
      })
    ]
  );
}
