#!/bin/sh
# An arm64 root file system with Python 3.9, numpy and ONNX Runtime, for tests/arm64: about 1 minute, 300 MB.
#
#   apt-get install qemu-user-static mmdebstrap
#   tests/arm64/setup.sh [FOLDER]          then: JETPRESS_ARM64=FOLDER pytest tests/arm64
#
# Nothing of it is run while it is made (no chroot, no binfmt_misc): packages are only unpacked.
set -eu
folder=${1:-$HOME/.cache/jetpress/arm64}
python=${PYTHON:-python3}
# The Debian mirror that this machine uses itself.
mirror=${MIRROR:-$(apt-get indextargets --format '$(ORIGIN) $(LABEL) $(REPO_URI)' 'Created-By: Packages' |
  sed -n 's/^Debian Debian //p' | head -1)}
mkdir -p "$folder"
test -e "$folder/root/usr/bin/python3.9" || {
  rm -rf "$folder/root"
  mmdebstrap --quiet --variant=extract --architectures=arm64 \
    --include=python3,libgomp1,libstdc++6,libatomic1 bullseye "$folder/root" "$mirror"
}
"$python" -m pip download --quiet --dest "$folder/wheels" --only-binary=:all: --python-version 3.9 \
  --implementation cp --platform manylinux_2_17_aarch64 --platform manylinux2014_aarch64 \
  --platform manylinux_2_27_aarch64 --platform manylinux_2_28_aarch64 'onnxruntime==1.19.2' 'numpy==1.26.4'
for wheel in "$folder"/wheels/*.whl; do
  "$python" -m zipfile -e "$wheel" "$folder/site"
done
cat > "$folder/python3" <<END
#!/bin/sh
exec qemu-aarch64-static -L "$folder/root" -E PYTHONPATH="$folder/site" -E PYTHONHOME="$folder/root/usr" "$folder/root/usr/bin/python3.9" "\$@"
END
chmod +x "$folder/python3"
"$folder/python3" -c 'import numpy, onnxruntime, platform, sys
print(platform.machine(), sys.version.split()[0], "numpy", numpy.__version__, "onnxruntime", onnxruntime.__version__)'
