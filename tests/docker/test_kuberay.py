"""The manifest of a sweep on Kubernetes, without a cluster: what it says fits what is here.

Against KubeRay's own schema (1.4 MB, not here) it is held by ``python -m studies.kuberay``.
"""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import yaml

from jetpress.pipeline.cli import parser

ROOT = Path(__file__).parents[2]
DOCUMENTS = [*yaml.safe_load_all((ROOT / "docker" / "kuberay.yaml").read_text())]
CLAIM, JOB = DOCUMENTS
CLUSTER: dict[str, Any] = JOB["spec"]["rayClusterSpec"]
GROUPS = [CLUSTER["headGroupSpec"], *CLUSTER["workerGroupSpecs"]]


def test_its_command_is_one_of_ours() -> None:
    program, *arguments = shlex.split(JOB["spec"]["entrypoint"])
    assert program == "jetpress"
    assert parser().parse_args(arguments).ray == "auto"


def test_every_pod_has_the_image_of_that_ray_and_the_shared_folder() -> None:
    pinned = re.search(r"^ray==([\d.]+) ", (ROOT / "docker/ray.lock").read_text(), re.MULTILINE)
    assert pinned is not None
    assert pinned[1] == CLUSTER["rayVersion"]
    runs = yaml.safe_load(JOB["spec"]["runtimeEnvYAML"])["env_vars"]["JETPRESS_RUNS"]
    for group in GROUPS:
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        mounted = {one["name"]: one["mountPath"] for one in container["volumeMounts"]}
        assert (container["image"].rpartition(":")[2], mounted["runs"]) == ("ray", runs)
        claims = {one["name"]: one.get("persistentVolumeClaim") for one in pod["volumes"]}
        assert claims["runs"]["claimName"] == CLAIM["metadata"]["name"]
        assert mounted.keys() == claims.keys()


def test_one_node_offers_the_board() -> None:
    """As ``ray start --resources`` takes it: JSON, quoted once more for the shell that KubeRay writes it into."""
    (told,) = [
        group["rayStartParams"]["resources"] for group in GROUPS if "resources" in group["rayStartParams"]
    ]
    (text,) = shlex.split(told)
    assert json.loads(text) == {"device:user@orin": 1}
    assert "device:user@orin" in (ROOT / "docs" / "sweeps.md").read_text()
