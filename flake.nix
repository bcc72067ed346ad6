{
  description = "Castaway media server: a live-audio relay, as a package, a NixOS module and a Google Compute Engine image";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";

  outputs =
    { self, nixpkgs }:
    let
      inherit (nixpkgs) lib;
      systems = [
        "x86_64-linux"
        "aarch64-linux"
      ];
      forEachSystem = f: lib.genAttrs systems (system: f nixpkgs.legacyPackages.${system});
    in
    {
      packages = forEachSystem (
        pkgs:
        {
          default = pkgs.callPackage ./nixos/package.nix { };
        }
        // lib.optionalAttrs (pkgs.stdenv.hostPlatform.system == "x86_64-linux") {
          gce-image = self.nixosConfigurations.gce.config.system.build.image;
        }
      );

      overlays.default = final: _: {
        castaway-media-server = final.callPackage ./nixos/package.nix { };
      };

      nixosModules = {
        default =
          { lib, pkgs, ... }:
          {
            imports = [ ./nixos/module.nix ];
            # The flake's own nixpkgs builds it, so that what was tested is what runs.
            services.castaway-media-server.package =
              lib.mkDefault
                self.packages.${pkgs.stdenv.hostPlatform.system}.default;
          };
        gce.imports = [
          self.nixosModules.default
          ./nixos/gce.nix
        ];
      };

      nixosConfigurations.gce = lib.nixosSystem {
        modules = [
          self.nixosModules.gce
          { nixpkgs.hostPlatform = "x86_64-linux"; }
        ];
      };

      checks = forEachSystem (
        pkgs:
        let
          package = self.packages.${pkgs.stdenv.hostPlatform.system}.default;
        in
        {
          # Cargo's tests run in the package's own build.
          default = package;

          clippy = package.overrideAttrs (old: {
            pname = "${old.pname}-clippy";
            nativeBuildInputs = old.nativeBuildInputs ++ [ pkgs.clippy ];
            buildPhase = "cargo clippy --offline --all-targets -- --deny warnings";
            doCheck = false;
            installPhase = "touch $out";
            postFixup = "";
          });

          formatting =
            pkgs.runCommandLocal "castaway-media-server-formatting"
              {
                src = lib.fileset.toSource {
                  root = ./.;
                  fileset = lib.fileset.unions [
                    ./Cargo.toml
                    ./flake.nix
                    ./src
                    ./tests
                    ./nixos
                  ];
                };
                nativeBuildInputs = [
                  pkgs.nixfmt
                  pkgs.rustfmt
                  pkgs.shellcheck
                ];
              }
              ''
                cd $src
                find . -name '*.rs' -exec rustfmt --edition 2024 --check {} +
                find . -name '*.nix' -exec nixfmt --check {} +
                grep -rlE '^#!.*\b(ba)?sh$' . | xargs shellcheck
                touch $out
              '';

          # The units as they are shipped: understood by NixOS's systemd, and no more exposed than they were.
          units =
            pkgs.runCommandLocal "castaway-media-server-units"
              {
                nativeBuildInputs = [
                  pkgs.bubblewrap
                  pkgs.systemd
                ];
              }
              ''
                # systemd-analyze writes to /run, and the sandbox has none.
                binds=()
                for directory in /*; do binds+=(--dev-bind "$directory" "$directory"); done
                analyze() { bwrap "''${binds[@]}" --tmpfs /run systemd-analyze "$@"; }

                export SYSTEMD_UNIT_PATH=${package}/lib/systemd/system:${pkgs.systemd}/example/systemd/system
                for unit in ${package}/lib/systemd/system/*.{service,socket}; do
                  analyze verify --man=no --recursive-errors=no "$unit"
                done
                analyze security --offline=true --threshold=12 ${package}/lib/systemd/system/castaway-media-server.service
                touch $out
              '';

          # The programs as they are installed run on NixOS, where there is neither /usr/bin nor /bin/bash: as in this build.
          programs = pkgs.runCommandLocal "castaway-media-server-programs" { } ''
            if grep -rE '(/usr|[^a-z0-9]/bin)/' ${package}/bin ${package}/libexec ${package}/lib --binary-files=without-match; then
              echo 'these paths are not in the store' >&2
              exit 1
            fi
            ${package}/bin/castaway-media-server --version
            # It comes as far as its first request, which nobody answers here.
            env --ignore-environment RUNTIME_DIRECTORY=$PWD ${package}/libexec/castaway-media-server/fetch-credentials 2>&1 | tee said || true
            grep -F 'the metadata server does not answer' said
            touch $out
          '';

          # What the module makes of its options, and what it refuses.
          module = import ./nixos/tests/module.nix {
            inherit pkgs;
            evaluate =
              configuration:
              lib.nixosSystem {
                modules = [
                  self.nixosModules.default
                  {
                    nixpkgs.pkgs = pkgs;
                    system.stateVersion = "26.05";
                  }
                  configuration
                ];
              };
          };

          vm = pkgs.testers.runNixOSTest {
            imports = [ ./nixos/tests/vm.nix ];
            defaults.imports = [ self.nixosModules.default ];
          };

          cluster = pkgs.testers.runNixOSTest {
            imports = [ ./nixos/tests/cluster.nix ];
            defaults.imports = [ self.nixosModules.default ];
          };
        }
      );

      formatter = forEachSystem (pkgs: pkgs.nixfmt-tree);

      devShells = forEachSystem (pkgs: {
        default = pkgs.mkShell {
          inputsFrom = [ self.packages.${pkgs.stdenv.hostPlatform.system}.default ];
          packages = [
            pkgs.biome
            pkgs.cargo-deny
            pkgs.clippy
            pkgs.nixfmt
            pkgs.ruff
            pkgs.rust-analyzer
            pkgs.rustfmt
            pkgs.shellcheck
          ];
        };
      });
    };
}
