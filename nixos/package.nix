# The daemon, its units, its man page and its completions, from exactly the files that cargo reads.
{
  lib,
  stdenv,
  rustPlatform,
  installShellFiles,
  makeWrapper,
  bash,
  cacert,
  coreutils,
  curl,
  jq,
}:
let
  root = ../.;
  manifest = lib.importTOML ../Cargo.toml;
in
rustPlatform.buildRustPackage {
  pname = manifest.package.name;
  inherit (manifest.package) version;

  src = lib.fileset.toSource {
    inherit root;
    fileset = lib.fileset.unions [
      ../Cargo.toml
      ../Cargo.lock
      ../CHANGELOG.md
      ../README.md
      ../benches
      ../clients/js
      ../clippy.toml
      ../deny.toml
      ../docs
      ../examples
      ../src
      ../tests/cost
      ../tests/it
      ./config.example.toml
      ./systemd
      ./sysusers.conf
      ./monitoring
      ./gce/alerts
      ./gce/fetch-credentials
    ];
  };
  cargoLock.lockFile = ../Cargo.lock;

  nativeBuildInputs = [
    installShellFiles
    makeWrapper
  ];
  # Whose shell the installed scripts run in: the build's own is not that of the machine they are for.
  buildInputs = [ bash ];
  # As on a machine; the tests pass without it as well (tests/sandbox).
  nativeCheckInputs = [ cacert ];

  postInstall = ''
    install -Dm644 --target-directory=$out/lib/systemd/system nixos/systemd/*.service nixos/systemd/*.socket
    install -Dm644 --target-directory=$out/lib/systemd/system/castaway-media-server.service.d \
      nixos/systemd/castaway-media-server.service.d/*.conf
    substituteInPlace $out/lib/systemd/system/castaway-media-server.service --replace-fail /usr/bin/ $out/bin/
    substituteInPlace $out/lib/systemd/system/castaway-credentials.service --replace-fail /usr/libexec/ $out/libexec/
    install -Dm644 nixos/sysusers.conf $out/lib/sysusers.d/castaway-media-server.conf
    install -D --target-directory=$out/libexec/castaway-media-server nixos/gce/fetch-credentials
    install -Dm644 --target-directory=$out/share/doc/castaway-media-server \
      nixos/config.example.toml docs/*.md docs/asyncapi.yaml
    install -Dm644 nixos/monitoring/rules.yml $out/share/castaway-media-server/prometheus-rules.yml
    install -Dm644 nixos/monitoring/dashboard.json $out/share/castaway-media-server/grafana-dashboard.json
    substituteInPlace $out/share/castaway-media-server/prometheus-rules.yml --replace-fail file:///usr/ file://$out/
  ''
  + lib.optionalString (stdenv.buildPlatform.canExecute stdenv.hostPlatform) ''
    mkdir pages
    $out/bin/castaway-media-server man --directory pages
    installManPage pages/*.1
    for shell in bash zsh fish; do
      $out/bin/castaway-media-server completions $shell > completions.$shell
      installShellCompletion --cmd castaway-media-server --$shell completions.$shell
    done
  '';

  # After fixup, which gives the script the store's bash.
  postFixup = ''
    wrapProgram $out/libexec/castaway-media-server/fetch-credentials --prefix PATH : ${
      lib.makeBinPath [
        coreutils
        curl
        jq
      ]
    }
  '';

  meta = {
    description = manifest.package.description;
    license = lib.licenses.mit;
    mainProgram = "castaway-media-server";
    platforms = lib.platforms.linux;
  };
}
