"""The client of Triton's package: the same as the Python example, its tensors through a server.

The server here speaks KServe's protocol with its binary extension and computes with ONNX Runtime. What a real Triton
server made of the same package is in studies/log/packages.md.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from jetpress.deploy.formats import package
from tests.deploy.formats import runs
from tests.deploy.formats.test_python import example

LENGTH = "Inference-Header-Content-Length"
DTYPES = {"FP32": np.float32, "UINT8": np.uint8, "INT32": np.int32, "INT64": np.int64}
NAMES = {np.dtype(one).name: name for name, one in DTYPES.items()}


@contextmanager
def serving(models: Path) -> Iterator[str]:
    """A model repository, on loopback."""

    class Answers(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            start = int(self.headers[LENGTH])
            (told,) = json.loads(body[:start])["inputs"]
            assert len(body) == start + told["parameters"]["binary_data_size"]
            file = models / self.path.split("/")[3] / "1" / "model.onnx"
            session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
            array = np.frombuffer(body[start:], DTYPES[told["datatype"]]).reshape(told["shape"])
            try:
                found = session.run(None, {told["name"]: array})
            except Exception as error:
                self.answer(400, json.dumps({"error": str(error)}).encode())
                return
            rows = [
                {"name": one.name, "datatype": NAMES[value.dtype.name], "shape": value.shape,
                 "parameters": {"binary_data_size": value.nbytes}}
                for one, value in zip(session.get_outputs(), found, strict=True)
            ]  # fmt: skip
            head = json.dumps({"outputs": rows}).encode()
            self.answer(200, head + b"".join(value.tobytes() for value in found), len(head))

        def answer(self, status: int, body: bytes, head: int | None = None) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            if head is not None:
                self.send_header(LENGTH, str(head))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *told: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def asked(place: Path, *words: str) -> tuple[int, str]:
    command = [sys.executable, str(place / "client.py"), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("task", "settings"),
    [
        ("classification", ("export.input=uint8_nhwc", "export.output=argmax")),
        ("detection", ("export.dynamic_batch=true", "export.batch=2")),
    ],
)
def test_the_client_finds_what_the_example_finds(
    task: str, settings: tuple[str, ...], tmp_path: Path
) -> None:
    run = runs.a_run(tmp_path / "run", task, "host", *settings)
    served, alone = package(run, "triton"), package(run, "python")
    pattern = runs.as_files(run, tmp_path / "frames")
    with serving(served / "models") as address:
        words = (pattern, "--server", address, "--json")
        code, said = asked(served, *words, str(tmp_path / "served.jsonl"))
        assert code == 0, said
        (served / "models" / task / "1" / "model.onnx").write_bytes(
            of_another_shape(served / "models" / task / "1" / "model.onnx")
        )
        code, said = asked(served, *words, str(tmp_path / "none"))
        assert (code, said.count("error:")) == (1, 1)
        assert "the server says" in said
    assert example(alone, pattern, "--json", str(tmp_path / "alone.jsonl"))[0] == 0
    assert (tmp_path / "served.jsonl").read_text() == (tmp_path / "alone.jsonl").read_text() != ""
    code, said = asked(served, *words, str(tmp_path / "none"))
    assert (code, "no server at" in said, "Traceback" in said) == (1, True, False)


def of_another_shape(path: Path) -> bytes:
    """The same network, for one pixel less."""
    model = onnx.load(path)
    side = model.graph.input[0].type.tensor_type.shape.dim[2]
    side.dim_value -= 1
    return bytes(model.SerializeToString())
