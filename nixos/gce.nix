# A Google Compute Engine machine that runs the media server: import it beside the module. By default there is no
# secret on the machine: the attached service account is reached through the metadata server.
{
  config,
  lib,
  modulesPath,
  ...
}:
let
  cfg = config.services.castaway-media-server;
in
{
  imports = [
    "${modulesPath}/virtualisation/google-compute-image.nix"
    ./gce/monitoring.nix
  ];

  options.services.castaway-media-server.secretManager = lib.mkOption {
    type = lib.types.attrsOf (lib.types.strMatching "[A-Za-z0-9_/-]+");
    default = { };
    example = {
      "google.api_key" = "projects/my-project/secrets/castaway-api-key/versions/3";
      "cluster.url" = "castaway-cluster-url";
    };
    description = ''
      Secrets that are copied from Secret Manager into `/run/credstore` before the daemon starts, by the
      configuration's key. `systemctl restart castaway-credentials` copies them again and restarts the daemon. If one
      cannot be read, the copies of before stay in use.
    '';
  };

  config = {
    # The image: one file with one name, whatever the release; UEFI, as shielded and confidential machines need it.
    image.baseName = "castaway-media-server";
    virtualisation.googleComputeImage.efi = true;
    # The root takes the whole disk, whatever size the instance was given.
    boot.growPartition = true;

    services.castaway-media-server = {
      enable = lib.mkDefault true;
      openFirewall = lib.mkDefault true;
    };

    environment.etc."castaway-media-server/secrets" = lib.mkIf (cfg.secretManager != { }) {
      text = lib.concatStrings (
        lib.mapAttrsToList (key: secret: "castaway.${key} ${secret}\n") cfg.secretManager
      );
    };
    systemd.services.castaway-credentials = {
      # Started with the daemon, before it, and passing its restarts on to it.
      requiredBy = [ "castaway-media-server.service" ];
      # A restart in one step restarts the daemon in one step. The default stops both first, and a stop of the daemon
      # deletes what it hands over to the next.
      stopIfChanged = false;
      restartTriggers = [ (builtins.toJSON cfg.secretManager) ];
      serviceConfig.ExecStart = [
        ""
        "${cfg.package}/libexec/castaway-media-server/fetch-credentials"
      ];
    };

    # The image's module turns the firewall off in favour of the network's; both are on here.
    networking.firewall.enable = true;
    networking.useNetworkd = true;
    services.resolved.enable = true;
    security.googleOsLogin.enable = true;

    # Weekly upgrades fill a disk of 20 GB within months otherwise. Two weeks of generations remain for a rollback.
    nix.gc = {
      automatic = lib.mkDefault true;
      dates = lib.mkDefault "daily";
      options = lib.mkDefault "--delete-older-than 14d";
    };
    nix.settings = {
      # What a build or a copy that runs out of space collects by itself.
      min-free = lib.mkDefault (2 * 1024 * 1024 * 1024);
      max-free = lib.mkDefault (6 * 1024 * 1024 * 1024);
    };
    # In place of what the image's module writes: with that `nixos-rebuild switch` removes the server. In the image, and
    # on machines that were made from an older one.
    virtualisation.googleComputeImage.configFile =
      toString
        config.environment.etc."nixos/configuration.nix".source;
    environment.etc."nixos/configuration.nix".text = ''
      throw "This machine is built from a flake: run nixos-rebuild with --flake, or upgrade it as nixos/gce/README.md says."
    '';

    # On the serial console, which `gcloud compute instances get-serial-port-output` shows and Cloud Logging can take.
    services.journald.console = "/dev/ttyS0";
    services.journald.extraConfig = ''
      MaxLevelConsole=info
      SystemMaxUse=1G
    '';

    boot.kernelModules = [
      "nf_conntrack"
      "tcp_bbr"
    ];
    boot.kernel.sysctl = {
      # Tens of thousands of connections, which all come at once after an outage.
      "net.core.somaxconn" = 16384;
      "net.ipv4.tcp_max_syn_backlog" = 16384;
      "net.core.netdev_max_backlog" = 16384;
      "net.netfilter.nf_conntrack_max" = 262144;
      # A proxy on the same machine needs one local port for each client.
      "net.ipv4.ip_local_port_range" = "16384 65535";
      # A clip every few seconds to phones: no slow start after each pause, and a rate that survives loss.
      "net.ipv4.tcp_slow_start_after_idle" = 0;
      "net.core.default_qdisc" = "fq";
      "net.ipv4.tcp_congestion_control" = "bbr";
      # A stalled listener costs at most what the daemon allows (server.send_buffer_bytes), which the kernel doubles.
      "net.core.wmem_max" = 4194304;
    };

    documentation.enable = lib.mkDefault false;
    system.stateVersion = lib.mkDefault "26.05";
  };
}
