#!/usr/bin/env bash
# Engines on this machine's NVIDIA GPU beside PyTorch, in one call of at most nine minutes; resumable.
#
#   OUT=folder studies/gpu.sh                 what is measured goes to $OUT/gpu.json, what is said to $OUT/gpu.log
#   EARLIER=gpu.json OUT=folder studies/gpu.sh   goes on where that one ended
#   SMALL=1 OUT=folder studies/gpu.sh         the same with a small network on the CPU: tries the script
#
# PYTHON: an interpreter with PyTorch, onnx, onnxscript (python3). WHEELS: a folder of wheels that it lacks (pydantic,
# tensorrt-rtx-cu13, tensorrt, ...): they go into a folder of their own. LIMIT: seconds (540). WORK: scratch (/tmp/...).
# What a machine lacks is in gpu.json as an error; all other steps are done. It goes to a GPU that nobody else uses.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${OUT:?a folder for the results}"
PYTHON=${PYTHON:-python3}
export WORK=${WORK:-$(mktemp -d)}
mkdir -p "$OUT" "$WORK"
export PYTHONPATH="$PWD:$WORK/site${PYTHONPATH:+:$PYTHONPATH}"
export PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 TORCHINDUCTOR_CACHE_DIR="$WORK/inductor"
if [ -n "${WHEELS:-}" ] && [ ! -d "$WORK/site" ]; then
  "$PYTHON" -m pip install --quiet --no-index --no-deps --target "$WORK/site" "$WHEELS"/*.whl
fi
exec > >(tee -a "$OUT/gpu.log") 2>&1
"$PYTHON" -m studies.gpu run "$OUT" --limit "${LIMIT:-540}" \
  ${EARLIER:+--earlier "$EARLIER"} ${SMALL:+--small}
