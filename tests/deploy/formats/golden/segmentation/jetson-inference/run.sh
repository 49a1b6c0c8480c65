#!/bin/sh
# segmentation in segnet: made by jetpress from the run segmentation-orin-nano-0123abcd.
here="$(cd "$(dirname "$0")" && pwd)"
exec segnet --model="$here/model.onnx" --labels="$here/labels.txt" \
  --input-blob=input --output-blob=output "$@"
