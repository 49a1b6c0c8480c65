"""docker/kuberay.yaml held against the schema of KubeRay's own resource, keys that it does not know included.

::

    python -m studies.kuberay ray.io_rayjobs.yaml

The file lies in helm-chart/kuberay-operator/crds of github.com/ray-project/kuberay.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator

MANIFEST = Path(__file__).parents[1] / "docker" / "kuberay.yaml"


def strict(schema: Any) -> Any:
    """The schema, with keys that it does not name refused: a cluster would drop them in silence."""
    if isinstance(schema, list):
        return [strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    told = {key: strict(value) for key, value in schema.items()}
    open_ = "additionalProperties" in schema or schema.get("x-kubernetes-preserve-unknown-fields")
    if isinstance(schema.get("properties"), dict) and not open_:
        told["additionalProperties"] = False
    if schema.get("x-kubernetes-int-or-string"):
        return {}
    return told


def main(path: Path) -> int:
    """How many faults there are."""
    versions = {one["name"]: one for one in yaml.safe_load(path.read_text())["spec"]["versions"]}
    (job,) = [one for one in yaml.safe_load_all(MANIFEST.read_text()) if one["kind"] == "RayJob"]
    schema = strict(versions[job["apiVersion"].partition("/")[2]]["schema"]["openAPIV3Schema"])
    schema["properties"]["metadata"] = {}
    faults = [*Draft202012Validator(schema).iter_errors(job)]
    for fault in faults:
        print(f"{'/'.join(map(str, fault.absolute_path))}: {fault.message[:300]}")
    print(f"{MANIFEST.name}: {len(faults)} faults")
    return len(faults)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
