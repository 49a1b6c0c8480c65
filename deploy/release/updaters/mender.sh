#!/bin/sh
# Mender update module "jetpress": the payload is release.tar, a signed release of jetpress.
# On the board: /usr/share/mender/modules/v3/jetpress, beside a runner that is trusted (RUNNER) and
# /etc/jetpress/allowed_signers. The release is on trial until Mender commits.
set -eu
RUNNER=${JETPRESS_RUNNER:-/usr/lib/jetpress/runner.pyz}
ROOT=${JETPRESS_ROOT:-/var/lib/jetpress}
state=$1 files=$2

case "$state" in
    NeedsArtifactReboot) echo No ;;
    SupportsRollback) echo Yes ;;
    ArtifactInstall)
        mkdir -p "$files/tmp/release"
        tar -xf "$files/files/release.tar" -C "$files/tmp/release"
        python3 "$RUNNER" deploy "$files/tmp/release" --root "$ROOT" --on-trial
        touch "$files/tmp/installed"
        rm -rf "$files/tmp/release"
        ;;
    ArtifactCommit) python3 "$RUNNER" confirm --root "$ROOT" --name "$(cat "$files/files/network")" ;;
    ArtifactRollback) # a release that was refused never served
        test ! -e "$files/tmp/installed" ||
            python3 "$RUNNER" rollback --root "$ROOT" --name "$(cat "$files/files/network")"
        ;;
esac
