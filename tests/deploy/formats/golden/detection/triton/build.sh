#!/bin/sh
# Builds the engine of detection on this machine, as the run would have; one that is there already is kept.
set -e
cd "$(dirname "$0")"
python3 bundle/runner.pyz build --bundle bundle --out engine > build.jsonl
cp engine/compressed.engine models/detection/1/model.plan
