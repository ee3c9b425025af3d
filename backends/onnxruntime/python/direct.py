"""ONNX Runtime's Python package in a plain loop, for `cargo firstpass overhead`.

Takes the request that the probe takes, as JSON in its only argument, and prints one line of JSON.
"""

import hashlib
import json
import math
import struct
import sys
import time

import numpy as np
import onnxruntime


def read_tensor(path, name):
    """One f32 tensor of a safetensors file: a length, a JSON header, and the bytes."""
    with open(path, "rb") as file:
        content = file.read()
    (length,) = struct.unpack_from("<Q", content)
    entry = json.loads(content[8 : 8 + length])[name]
    if entry["dtype"] != "F32":
        raise ValueError(f"tensor {name!r} in {path} is not f32")
    begin, _ = entry["data_offsets"]
    values = np.frombuffer(content, "<f4", math.prod(entry["shape"]), 8 + length + begin)
    return values.reshape(entry["shape"]).copy()


def main():
    trial = json.loads(sys.argv[1])["trial"]
    model = trial["model"]
    image = read_tensor(trial["inputs"][0], model["inputs"][0]["name"])

    # As the backend sets them, where they are not the defaults of both.
    onnxruntime.set_default_logger_severity(3)
    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(trial["knobs"].get("threads", 1))
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.enable_mem_pattern = True
    session = onnxruntime.InferenceSession(
        model["path"], options, providers=["CPUExecutionProvider"]
    )
    names = [output["name"] for output in model["outputs"]]
    feed = {model["inputs"][0]["name"]: image}

    passes_ns = []
    for _ in range(trial["passes"]["at_most"]):
        began = time.perf_counter_ns()
        outputs = session.run(names, feed)
        passes_ns.append(time.perf_counter_ns() - began)

    digest = hashlib.sha256()
    for output in outputs:
        digest.update(np.ascontiguousarray(output, "<f4").tobytes())
    answer = {
        "engine": onnxruntime.__version__,
        "passes_ns": passes_ns,
        "outputs_sha256": digest.hexdigest(),
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
