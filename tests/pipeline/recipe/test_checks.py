from __future__ import annotations

from pathlib import Path

import pytest

from tests.pipeline.recipe.helpers import refused


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[train]\nepochs = "3"\n', "train.epochs"),
        ("[prune]\nratio = 1.0\n", "less than 1"),
        ("[prune]\nratio = nan\n", ""),
        ('[data]\nsource = "digit"\n', "digits"),
        ('[data]\nsource = "imagefolder"\n', "data.root"),
        ('[model]\nbuilder = "torchvison:resnet18"\n', "torchvision"),
        ("[train]\nepochs = 0\n", "model.weights"),
        ('[finetune]\ntrainer = "my.py"\n', "finetune.trainer: 'my.py' is not path/to/file.py:function"),
        ("[prune]\nregularize_epochs = -1\n", "prune.regularize_epochs"),
        ("[prune]\nregularize_epochs = 1.5\n", "prune.regularize_epochs"),
        ("[prune]\nregularization = 0\n", "prune.regularization"),
        ('[prune]\nregularize_epochs = 1\n[train]\ntrainer = "my.py:train"\n', "jetpress's own loop"),
        ("[train\n", "TOML"),
        ('name = "../evil"\n', "name"),
        ("[[model.inputs]]\nshap = [3]\n", "shape"),
        ("[[model.inputs]]\nshape = [3]\n[[model.inputs]]\nshape = [3]\n", "share a name"),
    ],
)
def test_what_cannot_work_is_refused_with_a_remedy(tmp_path: Path, text: str, said: str) -> None:
    error = refused(tmp_path, text)
    assert said in str(error)
    assert error.hint
