"""Of an ONNX file: what it takes and gives, its precision, and how far it is from the network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from jetpress.pipeline.store.facts.network import Width

Shape = tuple[int | str, ...]
"""With the batch dimension first; an open dimension by its name."""


@dataclass(frozen=True)
class Profile:
    """Shapes of an input whose batch is open, as TensorRT's optimization profile."""

    min: Shape
    """The least sizes."""
    opt: Shape
    """The sizes that the engine is tuned for."""
    max: Shape
    """The largest sizes."""


@dataclass(frozen=True)
class TensorSpec:
    """An input or output of the file."""

    name: str
    """In the file."""
    dtype: str
    """As in NumPy."""
    shape: Shape
    """Of an input with a profile: the shape that is measured."""
    profile: Profile | None = None
    """None where the batch is fixed."""

    def as_json(self) -> dict[str, object]:
        """As the plan of a bundle has it."""
        told: dict[str, object] = {"name": self.name, "dtype": self.dtype, "shape": list(self.shape)}
        if self.profile is not None:
            told["profile"] = {kind: list(shape) for kind, shape in vars(self.profile).items()}
        return told


@dataclass(frozen=True)
class FileEnds:
    """Where the file's ends are not the network's own."""

    input: str
    """``network`` or ``uint8_nhwc``."""
    output: str
    """``scores``, ``softmax``, ``argmax`` or ``detections``."""
    said: tuple[str, ...]
    """What was done, in words."""


@dataclass(frozen=True)
class DetectionRules:
    """How boxes and scores become detections, as torchvision's ``postprocess_detections`` does it."""

    score: float
    """Lower scores are dropped."""
    iou: float
    """Of two boxes of one class that overlap more than this, the one with the lower score is dropped."""
    candidates: int
    """How many of the best are looked at, for each level (all classes) or for each class (all levels)."""
    detections: int
    """The most that are kept for one image."""
    first_label: int
    """Label of the first class: 1 where 0 is the background, which is not in ``scores``."""
    levels: tuple[int, ...] = ()
    """Anchors of each level; empty: candidates are counted for each class."""
    head: str = "ours"
    """How boxes and scores are read from the outputs (``deploy/runner/decode/heads.py``)."""
    reads: tuple[str, ...] = ("boxes", "scores")
    """Those outputs, in the order of the head."""
    size: tuple[int, ...] = ()
    """Height and width of the network's input."""
    classes: int = 0
    """How many there are; 0: not known."""
    points: tuple[int, ...] = ()
    """How many points an object has, and numbers of each: 2 for x and y, 3 with how sure it is; empty: none."""


@dataclass(frozen=True)
class Fp16:
    """Which nodes are in FP16."""

    nodes: int
    """With a floating-point output."""
    fp32: Mapping[str, str]
    """Node that stays in FP32 -> why."""

    @property
    def reasons(self) -> Counter[str]:
        """How many nodes stay in FP32 for which reason."""
        return Counter(self.fp32.values())


TOO_SENSITIVE = "too sensitive"
"""Why mixed precision leaves a layer out."""


@dataclass(frozen=True)
class QuantizedLayer:
    """A layer with weights."""

    name: str
    """Of its node."""
    weight: str
    """Name of its weight."""
    weights: int
    """How many numbers that holds."""
    int8: bool
    """Whether it is in eight bits (INT8 or FP8)."""
    why: str
    """Why it is not."""
    error: float | None = None
    """Relative error of the scores with this layer alone in eight bits; None where that was not tried."""


@dataclass(frozen=True)
class QuantizedPoints:
    """Points on the validation images that quantizing is judged by."""

    fp32: float
    """Of the file before."""
    int8: float
    """In eight bits (INT8 or FP8)."""
    least: float
    """That the budget allows."""
    images: int
    """How many."""


@dataclass(frozen=True)
class Quantization:
    """How a file was quantized after training."""

    dialect: str
    """How Q/DQ are written for the target's TensorRT."""
    numbers: str
    """``INT8`` or ``FP8``."""
    method: str
    """How ranges were found."""
    errors: Mapping[str, float]
    """Method -> relative error of the scores with all layers in eight bits."""
    error: float
    """Relative error of the scores of the file that was made."""
    cosine: float
    """Between the scores in FP32 and in eight bits, mean over images."""
    least_cosine: float
    """That equivalence asks for."""
    bias_correction: bool
    """Whether biases took back what rounding shifts in the mean."""
    images: int
    """That ranges were found on."""
    warnings: tuple[str, ...]
    """What is doubtful, in words."""
    layers: tuple[QuantizedLayer, ...]
    """Every layer that could be in eight bits."""
    met: bool
    """Whether points and cosine reach what is asked for."""
    stored: bool
    """Whether weights are in eight bits in the file."""
    validation: QuantizedPoints | None = None
    """None where nothing says what is right: an ONNX file that was given."""

    @property
    def headline(self) -> str:
        """How many layers, of what and by what method."""
        count = sum(one.int8 for one in self.layers)
        return f"{count} of {len(self.layers)} layers in {self.numbers} ({self.method})"

    @property
    def points(self) -> QuantizedPoints:
        """Of a network, which has data that says what is right."""
        assert self.validation is not None
        return self.validation


@dataclass(frozen=True)
class Score:
    """How far one output differs between two runtimes on one case."""

    output: str
    case: str
    samples: int
    finite: bool
    max_absolute: float
    largest: float
    """Largest absolute value that PyTorch gave."""
    max_relative: float
    """``max_absolute`` over ``largest``, of this case or of the real images if those give larger values."""
    cosine: float
    """Of the sample that differs most in direction."""
    top1: float
    """Share of positions whose largest entry along axis 1 is the same; ties do not count against it. Of detections
    the share that is found in both."""
    needed: float | None = None
    """Share that is asked for, where it is not the precision's."""
    mean_cosine: float = 1.0
    """Over the samples."""
    channel: float = 0.0
    """Difference of the channel that is furthest off over its own largest value, of all real images together; 0 where
    there are too few values to tell."""
    channel_at: int = 0
    """Which channel that is."""


@dataclass(frozen=True)
class Answers:
    """What a file answers, beside another one that answers the same samples."""

    what: str
    """``detections`` or ``top classes``."""
    kept: float
    """Share of the file's that the other one gives, too."""
    right: float
    """Share of the other one's that are the file's."""
    count: int
    """Of the file's."""
    samples: int

    @property
    def share(self) -> float:
        """The lesser of the two."""
        return min(self.kept, self.right)

    @property
    def words(self) -> str:
        """What is left of the file's answers."""
        new = f", and {1 - self.right:.0%} of those now are new" if self.what == "detections" else ""
        return (
            f"{self.kept:.0%} of the file's {self.count} {self.what} are kept{new} ({self.samples} samples)"
        )


@dataclass(frozen=True)
class CutFile:
    """What was removed from a file that was given, and how near its outputs still are."""

    layers: tuple[Width, ...]
    parameters: tuple[int, int]
    """Before and after."""
    macs: tuple[int, int]
    agreement: tuple[Score, ...]
    """Of the outputs before and after, on samples without labels: no statement about accuracy."""
    fitted: int
    """Samples that layers were fitted to."""
    answers: Answers | None = None
    """On samples that nothing was fitted to; None: what the outputs mean is not known, or nothing is found."""


@dataclass(frozen=True)
class OnnxModelFacts:
    """Of a graph at a stated opset."""

    opset: int
    ir_version: int
    nodes: int
    bytes: int
    """Of the file, with the weights beside it."""
    max_batch: int
    """Samples that it takes at once."""
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    ends: FileEnds
    detection: DetectionRules | None = None
    """Of a detector; None for other networks."""
    fp16: Fp16 | None = None
    """None where the graph has no FP16."""
    quantization: Quantization | None = None
    """None where the graph has no Q/DQ."""
    cut: CutFile | None = None
    """None where nothing was pruned from the file."""
    headline: str = ""


@dataclass(frozen=True)
class SamplesFacts:
    """Inputs of a file."""

    count: int
    real: bool
    """False: seeded noise, because none were given."""
    said: str
    """Where they come from, in words."""

    @property
    def headline(self) -> str:
        """As a step says it."""
        return self.said


@dataclass(frozen=True)
class EquivalenceFacts:
    """How far PyTorch and ONNX Runtime differ."""

    outputs: tuple[Score, ...]
    """The worst score of each output."""
    precision: str
    """That the file was judged in: ``fp32``, ``fp16``, ``int8`` or ``fp8``."""
    images: int
    """Real ones that both saw."""
    sparse_layers: int
    """Found in the file as the checkpoint says."""
    headline: str


@dataclass(frozen=True)
class ClearanceFacts:
    """The target's parser takes the file."""

    headline: str
