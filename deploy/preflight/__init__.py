"""Will this graph run on that TensorRT? Said in a second on the host, not in an hour on the board.

:mod:`jetpress.deploy.preflight.compatibility` gives the verdict on any ONNX file. Every node is held against the
operator table of the target's TensorRT (:mod:`jetpress.deploy.preflight.operators`), what its importers assert, ignore
or read as something else (:mod:`jetpress.deploy.preflight.importers`), and where that says nothing the conditions in
the table (:mod:`jetpress.deploy.preflight.restrictions`); quantization has rules of its own
(:mod:`jetpress.deploy.preflight.quantization`).

What it does not do: prove that the engine will build. Tables are what NVIDIA publishes, and a builder can
fail for reasons that no table has.
"""
