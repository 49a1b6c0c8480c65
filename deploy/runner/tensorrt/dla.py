"""The deep learning accelerator (DLA) with any TensorRT that has it; the rule of names stands in backends/tensorrt.py.

Up to 10.7 its INT8 takes implicit quantization: a graph without Q/DQ, and a range for each tensor (NVIDIA's guide to
the DLA; github.com/NVIDIA/TensorRT #2222). From Q/DQ the builder makes an engine that runs on the GPU. 10.8 to 11.4.0
have none on a Jetson; since 11.4.1 it takes strongly typed networks, Q/DQ in them, which the parser adjusts.
"""

from types import ModuleType
from typing import TYPE_CHECKING, Dict, List, NamedTuple, Optional

from ..interface.settings import Settings
from ..system.failures import DeviceError

if TYPE_CHECKING:
    from tensorrt import Builder, IBuilderConfig, ILogger, INetworkDefinition, ITensor, OnnxParser


class Capable(NamedTuple):
    """What the builder says of the network before it builds."""

    layers: int  # that are work
    capable: int  # that can run on the DLA
    ranges: Optional[int]  # tensors that were given one; None where the types are the graph's


def use_dla(
    trt: ModuleType, builder: "Builder", config: "IBuilderConfig", settings: Settings, strong: bool
) -> List[str]:
    """Every layer goes to the core that is asked for, and falls back to the GPU; the names of the flags set."""
    if settings.dla_core is None:
        return []
    if settings.dla_core >= builder.num_DLA_cores:
        raise DeviceError(
            "there is no DLA core %d here, TensorRT sees %d" % (settings.dla_core, builder.num_DLA_cores),
            "leave it out of --places; of TensorRT 10.8 and newer only 11.4.1 on AGX Orin has one",
        )
    if settings.precision == "int8" and not strong and settings.ranges is None:
        raise DeviceError(
            "the INT8 of this TensorRT's DLA is implicit quantization, and the bundle has Q/DQ alone: every layer "
            "would fall back to the GPU",
            "make the bundle for a target with a DLA (`jetpress targets` shows it), or build in FP16 there",
        )
    config.default_device_type = trt.DeviceType.DLA
    config.DLA_core = settings.dla_core
    config.set_flag(trt.BuilderFlag.GPU_FALLBACK)
    return ["GPU_FALLBACK", "DLA_%d" % settings.dla_core]


def adjust_parser(
    trt: ModuleType, parser: "OnnxParser", config: "IBuilderConfig", settings: Settings
) -> None:
    """TensorRT 10.16 and newer parse a graph so that the DLA can take it."""
    if settings.dla_core is None or not hasattr(parser, "set_builder_config"):
        return
    parser.set_builder_config(config)
    if hasattr(trt.OnnxParserFlag, "ADJUST_FOR_DLA"):
        parser.set_flag(trt.OnnxParserFlag.ADJUST_FOR_DLA)


def set_ranges(network: "INetworkDefinition", settings: Settings) -> Optional[int]:
    """Implicit quantization: the range of each tensor that has one; how many got it."""
    if settings.ranges is None:
        return None
    done = 0
    for place in range(network.num_inputs):
        done += _set_range(network.get_input(place), settings.ranges)
    for place in range(network.num_layers):
        layer = network.get_layer(place)
        for output in range(layer.num_outputs):
            tensor = layer.get_output(output)
            done += tensor is not None and _set_range(tensor, settings.ranges)
    if not done:
        raise DeviceError("no range of the bundle is of a tensor of this network", "make the bundle again")
    return done


def why_none(
    trt: ModuleType, log: "ILogger", builder: "Builder", config: "IBuilderConfig", model: str, typing: int
) -> str:
    """What the parser of TensorRT 10.15 and newer says of each node that the DLA does not take; empty before."""
    network = builder.create_network(typing)
    parser = trt.OnnxParser(network, log)
    if not hasattr(parser, "set_builder_config"):
        return ""
    parser.set_builder_config(config)
    parser.set_flag(trt.OnnxParserFlag.REPORT_CAPABILITY_DLA)
    with open(model, "rb") as source:
        parser.supports_model_v2(source.read(), model)
    faults = [parser.get_error(place) for place in range(parser.num_errors)]
    return "; ".join("node %d: %s" % (fault.node(), fault.desc()) for fault in faults[:5])


def _set_range(tensor: "ITensor", ranges: Dict[str, float]) -> bool:
    largest = ranges.get(tensor.name)
    if largest is None or not hasattr(tensor, "dynamic_range"):
        return False
    tensor.dynamic_range = (-largest, largest)
    return True


def capable_of(
    config: "IBuilderConfig", network: "INetworkDefinition", settings: Settings, ranges: Optional[int]
) -> Optional[Capable]:
    """How many layers could run there; constants are no work. None where no DLA is asked for."""
    if settings.dla_core is None:
        return None
    every = [network.get_layer(place) for place in range(network.num_layers)]
    work = [layer for layer in every if str(getattr(layer.type, "name", layer.type)) != "CONSTANT"]
    return Capable(len(work), sum(bool(config.can_run_on_DLA(layer)) for layer in work), ranges)
