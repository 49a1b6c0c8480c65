#!/usr/bin/env bash
# Engines on this machine's NVIDIA GPU beside PyTorch, in one call of at most nine minutes; resumable.
#
#   OUT=folder studies/gpu.sh                 what is measured goes to $OUT/gpu.json, what is said to $OUT/gpu.log
#   EARLIER=gpu.json OUT=folder studies/gpu.sh   goes on where that one ended
#   SMALL=1 OUT=folder studies/gpu.sh         the same with a small network on the CPU: tries the script
#
# Nothing is fetched: it runs where there is no network. What the machine must have, or WHEELS (a folder) must bring:
#   - PYTHON (python3, 3.11 or newer) with torch, torchvision, numpy, onnx, onnx_ir, onnxscript, onnxruntime,
#     safetensors, scipy, PyYAML, filelock, packaging and pillow, as CUDA images with PyTorch have them
#   - pydantic with its three packages: 4 MB of wheels for that Python
#   - tensorrt and the CUDA runtime that it is for: hundreds of megabytes, so an image that has it is the way. Where it
#     cannot be imported no bundle is made for it, and gpu.json says so. TensorRT-RTX 1.7 builds for compute capability
#     7.5, 8.0, 8.6, 8.9 and 12.x: not for an H100 or H200.
# Wheels go into a folder of their own ($WORK/site); nothing that is installed is changed. LIMIT: seconds of it all
# (540). WORK: scratch (/tmp/...). It is for a GPU that nobody else uses.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${OUT:?a folder for the results}"
PYTHON=${PYTHON:-python3}
export WORK=${WORK:-$(mktemp -d)}
mkdir -p "$OUT" "$WORK"
export PYTHONPATH="$PWD:$WORK/site${PYTHONPATH:+:$PYTHONPATH}"
export PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 TORCHINDUCTOR_CACHE_DIR="$WORK/inductor"
exec > >(tee -a "$OUT/gpu.log") 2>&1
if [ -n "${WHEELS:-}" ] && [ ! -d "$WORK/site" ]; then
  "$PYTHON" -m pip install --quiet --no-index --no-deps --no-compile --target "$WORK/site" "$WHEELS"/*.whl
fi
"$PYTHON" -m studies.gpu run "$OUT" --limit "$((${LIMIT:-540} - SECONDS))" \
  ${EARLIER:+--earlier "$EARLIER"} ${SMALL:+--small}
