"""What ``import jetpress`` offers, and where it comes from: the one list of it."""

from jetpress.pipeline.calling import plan as plan
from jetpress.pipeline.calling import run as run
from jetpress.pipeline.compare import compare as compare
from jetpress.pipeline.functions.exporting import check as check
from jetpress.pipeline.functions.exporting import equivalent as equivalent
from jetpress.pipeline.functions.exporting import export as export
from jetpress.pipeline.functions.pruned import Pruned as Pruned
from jetpress.pipeline.functions.pruning import prune as prune
from jetpress.pipeline.functions.quantizing import quantize as quantize
from jetpress.pipeline.functions.rounds import Rounds as Rounds
from jetpress.pipeline.functions.rounds import rounds as rounds
from jetpress.pipeline.functions.saving import load as load
from jetpress.pipeline.functions.saving import save as save
from jetpress.pipeline.functions.sparsifying import fold as fold
from jetpress.pipeline.functions.sparsifying import sparsify as sparsify
from jetpress.pipeline.functions.tuning import distillation as distillation
from jetpress.pipeline.functions.tuning import fine_tune as fine_tune
from jetpress.pipeline.recipe.reading import Recipe as Recipe
from jetpress.pipeline.run_onnx import engine as engine
