# Generations of one machine, as the module makes them: the text of its units and of its files in /etc. It is applied
# to the flake's nixosConfigurations.gce, and read by layout.py. Addresses are those of the double of Google.
gce:
let
  inherit (gce.pkgs) lib;
  machine = {
    services.castaway-media-server = {
      tls.domain = "live.example.org";
      secretManager."google.api_key" = "the-api-key";
      settings = {
        google = {
          project_id = "castaway-test";
          keys_url = "http://127.0.0.1:9000/jwks";
          identity_url = "http://127.0.0.1:9000/v1";
          firestore_url = "http://127.0.0.1:9000/v1";
          token_url = "http://127.0.0.1:9000/token";
        };
        livestream.grace = "20s";
      };
    };
    systemd.services.castaway-media-server.environment.GCE_METADATA_HOST = "127.0.0.1:9000";
    systemd.services.castaway-credentials.environment = {
      GCE_METADATA_HOST = "127.0.0.1:9000";
      CASTAWAY_SECRET_MANAGER_URL = "http://127.0.0.1:9000";
    };
    # A certificate by Caddy's own authority in place of ACME: the machine has no way out.
    services.caddy.globalConfig = "local_certs";
  };
  # A package that differs in nothing but its name differs in its store path, and so in every unit that names it.
  upgraded.services = {
    castaway-media-server.package = renamed gce.config.services.castaway-media-server.package;
    caddy.package = renamed gce.config.services.caddy.package;
  };
  renamed = package: package.overrideAttrs { name = "${lib.getName package}-next"; };
  secret = name: {
    services.castaway-media-server.secretManager."google.api_key" = lib.mkForce name;
  };

  isOurs =
    name:
    lib.hasInfix "castaway" name
    || lib.elem name [
      "caddy.service"
      "sysinit-reactivation.target"
    ];
  proxyFile =
    config:
    lib.concatMapStrings (host: ''
      ${host.hostName} {
        ${lib.optionalString (host.logFormat != null) "log {\n${host.logFormat}\n}"}
        ${host.extraConfig}
      }
    '') (lib.attrValues config.services.caddy.virtualHosts);
  generation =
    modules:
    let
      inherit (gce.extendModules { modules = [ machine ] ++ modules; }) config;
      cfg = config.services.castaway-media-server;
    in
    {
      units = lib.mapAttrs (_: unit: {
        inherit (unit) text wantedBy requiredBy;
        # NixOS writes a drop-in where a package brings the unit.
        fragment = unit.overrideStrategy != "asDropinIfExists";
      }) (lib.filterAttrs (name: unit: unit.enable && isOurs name) config.systemd.units);
      inherit (cfg) settings;
      secrets = config.environment.etc."castaway-media-server/secrets".text;
      caddyfile = ''
        {
          ${config.services.caddy.globalConfig}
        }
        ${config.services.caddy.extraConfig}
        ${proxyFile config}
      '';
      caddyPath = "/etc/caddy/caddy_config";
      package = cfg.package.outPath;
      caddy = config.services.caddy.package.outPath;
      # The programs that the wrapper of fetch-credentials puts on its PATH.
      wrapper = cfg.package.postFixup;
      # Those that NixOS puts on the PATH of a unit.
      path = map (package: package.outPath) config.systemd.services.castaway-credentials.path;
    };
in
{
  # NixOS's own program that goes from one generation to another: its source.
  switch = "${gce.pkgs.switch-to-configuration-ng.src}";
  generations = lib.mapAttrs (_: generation) {
    first = [ ];
    upgraded = [ upgraded ];
    louder = [ { services.castaway-media-server.settings.log.level = "debug"; } ];
    rotated = [ (secret "another-key") ];
    unreadable = [ (secret "a-key-that-is-nowhere") ];
  };
}
