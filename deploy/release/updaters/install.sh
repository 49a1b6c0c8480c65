#!/bin/sh
# RAUC handler and SWUpdate script: deploys release.tar, a signed release of jetpress. On the board lie a runner that
# is trusted (RUNNER) and /etc/jetpress/allowed_signers. Where the release is bad the old one serves on, and the
# update fails.
set -eu
RUNNER=${JETPRESS_RUNNER:-/usr/lib/jetpress/runner.pyz}
ROOT=${JETPRESS_ROOT:-/var/lib/jetpress}
INCOMING=${JETPRESS_INCOMING:-/var/lib/jetpress/incoming}
tar=${RAUC_BUNDLE_MOUNT_POINT:-$INCOMING}/release.tar
folder=$(mktemp -d)
trap 'rm -rf "$folder" "$INCOMING"' EXIT
tar -xf "$tar" -C "$folder"
python3 "$RUNNER" deploy "$folder" --root "$ROOT"
