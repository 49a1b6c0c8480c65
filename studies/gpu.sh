#!/usr/bin/env bash
# What only an NVIDIA GPU can measure, in one call of at most nine minutes; resumable.
#
#   OUT=folder studies/gpu.sh                 engines beside PyTorch (studies/gpu.py)
#   PIECE=vgg16 DATA=folder OUT=folder studies/gpu.sh         VGG-16 on CIFAR-10, 92 % of its parameters pruned
#   PIECE=mobilenetv2 DATA=folder OUT=folder studies/gpu.sh   MobileNetV2 on imagenette, 40 % (studies/gpu_training.py)
#   EARLIER=gpu.json ... studies/gpu.sh       goes on where that one ended (vgg16.json, mobilenetv2.json likewise)
#   SMALL=1 ... studies/gpu.sh                the same with a small network on the CPU: tries the script
#
# What is measured goes to $OUT/gpu.json ($OUT/$PIECE.json), what is said to $OUT/gpu.log. Nothing is fetched: it runs
# where there is no network. What the machine must have, or WHEELS (a folder) must bring:
#   - PYTHON (python3, 3.11 or newer) with torch, torchvision, numpy, onnx, onnx_ir, onnxscript, onnxruntime,
#     safetensors, scipy, PyYAML, filelock, packaging and pillow, as CUDA images with PyTorch have them; for PIECE=vgg16
#     and mobilenetv2 also matplotlib and jinja2
#   - pydantic with its three packages: 4 MB of wheels for that Python
#   - tensorrt and the CUDA runtime that it is for: hundreds of megabytes, so an image that has it is the way. Where it
#     cannot be imported no bundle is made for it, and gpu.json says so. TensorRT-RTX 1.7 builds for compute capability
#     7.5, 8.0, 8.6, 8.9 and 12.x: not for an H100 or H200. Engines only.
# Wheels go into a folder of their own ($WORK/site); nothing that is installed is changed. LIMIT: seconds of it all
# (540). EPOCHS: of vgg16's and mobilenetv2's training (30). DATA: the folder of studies/real.py. WORK: scratch; where it
# is the same again, vgg16 and mobilenetv2 go on after the last whole epoch, elsewhere with the step that was not done.
# It is for a GPU that nobody else uses.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${OUT:?a folder for the results}"
PIECE=${PIECE:-engines}
PYTHON=${PYTHON:-python3}
export WORK=${WORK:-$(mktemp -d)}
mkdir -p "$OUT" "$WORK"
export PYTHONPATH="$PWD:$WORK/site${PYTHONPATH:+:$PYTHONPATH}"
export PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 TORCHINDUCTOR_CACHE_DIR="$WORK/inductor"
exec > >(tee -a "$OUT/gpu.log") 2>&1
if [ -n "${WHEELS:-}" ] && [ ! -d "$WORK/site" ]; then
  "$PYTHON" -m pip install --quiet --no-index --no-deps --no-compile --target "$WORK/site" "$WHEELS"/*.whl
fi
case $PIECE in
  engines) what=(studies.gpu run "$OUT") ;;
  vgg16 | mobilenetv2)
    what=(studies.gpu_training run "$PIECE" "${DATA:?a folder of images and weights}" "$OUT" --epochs "${EPOCHS:-30}")
    ;;
  *)
    echo "PIECE=$PIECE is not known: engines, vgg16 or mobilenetv2"
    exit 2
    ;;
esac
"$PYTHON" -m "${what[@]}" --limit "$((${LIMIT:-540} - SECONDS))" \
  ${EARLIER:+--earlier "$EARLIER"} ${SMALL:+--small}
