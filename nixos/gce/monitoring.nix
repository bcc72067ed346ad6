# Sends the metrics of the daemon and of the machine to Google's Managed Service for Prometheus, where the policies in
# alerts/ watch them. Nothing here listens beyond the loopback.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.services.castaway-media-server;
  healthPort = lib.last (lib.splitString ":" cfg.settings.server.health_listen);
  node = config.services.prometheus.exporters.node;
  scrape = job: port: {
    job_name = job;
    scrape_interval = "30s";
    static_configs = [ { targets = [ "127.0.0.1:${toString port}" ]; } ];
  };
in
{
  options.services.castaway-media-server.monitoring.enable = lib.mkOption {
    type = lib.types.bool;
    default = true;
    description = ''
      Whether to send metrics to Managed Service for Prometheus. The machine's service account needs
      `roles/monitoring.metricWriter`.
    '';
  };

  config = lib.mkIf cfg.monitoring.enable {
    services.prometheus.exporters.node = {
      enable = true;
      listenAddress = "127.0.0.1";
      # These and no others: a sample costs money.
      extraFlags = [
        "--collector.disable-defaults"
        # How often systemd had to start one again, which the daemon cannot know.
        "--collector.systemd.enable-restarts-metrics"
        "--collector.systemd.unit-include=(castaway-media-server|castaway-credentials|caddy)[.]service"
      ];
      enabledCollectors = [
        "cpu"
        "filesystem"
        "meminfo"
        "netdev"
        "systemd"
      ];
    };

    services.opentelemetry-collector = {
      enable = true;
      package = pkgs.opentelemetry-collector-contrib;
      # With the collector's own program, when the system is built.
      validateConfigFile = true;
      settings = {
        receivers.prometheus.config.scrape_configs = [
          (scrape "castaway" healthPort)
          (scrape "node" node.port)
        ];
        processors = {
          memory_limiter = {
            check_interval = "1s";
            limit_mib = 256;
            spike_limit_mib = 64;
          };
          resourcedetection = {
            detectors = [ "gcp" ];
            timeout = "10s";
          };
          # The targets have the same address on all machines; their series must not.
          resource.attributes = [
            {
              key = "service.instance.id";
              from_attribute = "host.name";
              action = "upsert";
            }
          ];
          batch = {
            send_batch_size = 200;
            send_batch_max_size = 200;
            timeout = "5s";
          };
        };
        exporters.googlemanagedprometheus = { };
        service = {
          pipelines.metrics = {
            receivers = [ "prometheus" ];
            processors = [
              "memory_limiter"
              "resourcedetection"
              "resource"
              "batch"
            ];
            exporters = [ "googlemanagedprometheus" ];
          };
          # Its own metrics would take a port.
          telemetry.metrics.level = "none";
        };
      };
    };
    systemd.services.opentelemetry-collector = {
      wants = [ "network-online.target" ];
      after = [ "network-online.target" ];
      startLimitIntervalSec = 0;
      serviceConfig = {
        RestartSec = "10s";
        MemoryMax = "400M";
      };
    };
  };
}
