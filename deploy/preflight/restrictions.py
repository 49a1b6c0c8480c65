"""The conditions under which a TensorRT takes an operator, held against a node.

operators.json has each condition in NVIDIA's words, and the words decide: ``RULES`` pairs a sentence with
the check that it stands for, so no rule names a version. A test holds that every sentence of every version
has its rule, or is in ``ELSEWHERE``, because it cannot be told from the file or does not matter.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from jetpress.deploy.preflight import attributes, tensors
from jetpress.deploy.preflight.finding import Check, Finding
from jetpress.deploy.preflight.graph import Graph
from jetpress.deploy.preflight.node import Node
from jetpress.deploy.preflight.operators import Row

# fmt: off
RULES: tuple[tuple[str, Check], ...] = (
    (r"2D or 3D (?:[Pp]ooling|convolutions|deconvolutions) only", tensors.spatial),
    (r"`axis` dimension of input must be a build-time constant", tensors.static_axis),
    ((r"[^.;]*(?<!`depth)`(?: clip values| input)? must be (?:an initializer|initializers|(?:a|resolvable to a) "
      r"(?:build-time )?constant(?: tensor)?)(?! and)"), tensors.constant),
    (r"Floating point inputs are only supported if [^.]* are initializers", tensors.constant_where_float),
    (r"`Indices` output tensor unsupported|Only the first output `Y` is supported", tensors.later_outputs),
    (r"(?:`\w+`(?:, )?)+ outputs unsupported", tensors.later_outputs),
    (r"`dilations` must be empty or all ones", attributes.dilations),
    (r"Input rank must be >=3 & <=5", tensors.rank_3_to_5),
    (r"(?:(?:`\w+`(?:, | and )?)+|Input) must be 4D(?: input)?", tensors.must_be_4d),
    (r"Ellipsis and diagonal operations are not supported\. Broadcasting between inputs is not supported",
     attributes.einsum),
    (r"`equation` takes lower-case letters only", attributes.lower_case),
    ((r"Supported resize transformation modes: ([^.]*)\. Supported resize modes: ([^.]*)\. "
      r"Supported nearest modes: ([^.]*)"), attributes.resize),
    (r"Supported aspect ratio policy: `stretch`", attributes.only("keep_aspect_ratio_policy", "stretch")),
    (r"When `scales` is a tensor input, `axes` must be an iota vector of length rank\(input\)", attributes.resize_axes),
    (r"Antialiasing is not supported", attributes.only("antialias", 0)),
    (r"`reduction` (?:is|other than `none` is) not supported", attributes.only("reduction", "none")),
    (r"`(?!\w*zero_point|sorted)(\w+)` (?:attribute )?must be (-?\d+)(?=\.|$)", attributes.attribute),
    (r"`sparse_value`[^.]* attributes are unsupported", attributes.no_attributes),
    (r"(?:`\w+`(?: and )?)+ attributes unsupported", attributes.no_attributes),
    (r"(?:`\w+`(?:, )?)+ inputs unsupported", tensors.no_inputs),
    (r"Dynamic input shapes are unsupported|`input` must have static dimensions", tensors.static),
    (r"Output has fixed shape and is padded to \[[^\]]*\]", tensors.padded),
    (r"Only positive indices \(>=0\) are supported", tensors.negative_indices),
    (r"Zero-constant padding on two dimensions only", tensors.two_zero_pads),
    (r"For bidirectional \w+, activation functions must be the same for both the forward and reverse pass",
     attributes.same_activations),
    (r"`(K)` input must be less than (\d+)", tensors.less_than),
    (r"`seed` value is ignored by TensorRT", attributes.ignored_seed),
    (r"`is_training` must be an initializer and evaluate to False", tensors.not_training),
    ((r"`input` must have 1D or 2D spatial dimensions\. `pads` for the beginning and end along each spatial "
      r"axis must be the same"), tensors.deformable),
)
# Finding by deploy/quantization.py, unknowable from the file, or without consequence for it.
ELSEWHERE: tuple[str, ...] = (
    r"`[xy]_zero_point` must be (?:zero|0)",
    r"`sorted` must be 1",  # the importer of 10.1 does not read it, and sorted is a valid answer
    r"`depth` must be a build-time constant",  # the importer of 10.1 takes it as a tensor
    r"Output tensors of the two conditional branches must have [^.]*names",
    r"Scan output length cannot be dynamic",
    r"The shape of Loop carried dependencies must be the same across all loop iterations",
    r"Input must be real-valued",
    r"`position_ids` must be INT64",
    r"Compile with `-DSUPPORT_NEGATIVE_GATHER=1` to enable support for negative indices",
    r"`q_num_heads`/`kv_num_heads` given by the second dimension of Q and K/V",
)
# fmt: on


def violations(graph: Graph, node: Node, row: Row) -> Iterator[Finding]:
    """What speaks against ``node`` in the conditions of ``row``."""
    for pattern, check in RULES:
        for sentence in re.finditer(pattern, row.restriction):
            finding = check(graph, node, sentence)
            if finding is not None:
                yield finding
