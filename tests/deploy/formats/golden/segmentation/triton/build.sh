#!/bin/sh
# Builds the engine of segmentation on this machine, as the run would have; one that is there already is kept.
set -e
cd "$(dirname "$0")"
python3 bundle/runner.pyz build --bundle bundle --out engine > build.jsonl
cp engine/compressed.engine models/segmentation/1/model.plan
