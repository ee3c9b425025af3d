#!/usr/bin/env python3
"""ONNX Runtime's Python package as an engine: `firstpass check MODEL --engine ort-python=./engine.py`.

All that an engine has to be is a program that speaks suite/probe/PROTOCOL.md.
"""

import hashlib, json, os, sys, time

begun = time.monotonic_ns()
messages = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)  # What the engine prints itself is no message.
TYPES = {"F32": "<f4", "F64": "<f8", "I64": "<i8", "I32": "<i4", "U8": "u1", "I8": "i1", "BOOL": "?"}


def say(message, **fields):
    messages.write(json.dumps({"message": message, **fields}) + "\n")


def step(work, *arguments):
    began = time.monotonic_ns()
    cpu = time.process_time_ns()
    value = work(*arguments)
    wall = time.monotonic_ns() - began
    return value, {"start_ns": began, "wall_ns": wall, "cpu_ns": time.process_time_ns() - cpu}


def read(path):
    with open(path, "rb") as file:
        data = file.read()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    header.pop("__metadata__", None)
    return {
        name: np.frombuffer(data[start:], TYPES[of["dtype"]], int(np.prod(of["shape"], dtype=int)), of["data_offsets"][0])
        .reshape(of["shape"])
        for name, of in header.items()
    }


def write(path, tensors, order):
    header, data = {"__metadata__": {"outputs": json.dumps(order)}}, b""
    for name, array in tensors.items():
        dtype = next(key for key, kind in TYPES.items() if np.dtype(kind) == array.dtype)
        end = len(data) + array.nbytes
        header[name] = {"dtype": dtype, "shape": array.shape, "data_offsets": [len(data), end]}
        data += np.ascontiguousarray(array).tobytes()
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text + data)


def feed(specs, path):
    tensors = {name: array for name, array in read(path).items()}
    for spec in specs:
        array = tensors[spec["name"]]
        if list(array.shape) != spec["shape"]:
            raise ValueError(f"{spec['name']} has the shape {list(array.shape)}, not {spec['shape']}")
    return {spec["name"]: tensors[spec["name"]] for spec in specs}


def trial(knobs, model, inputs, passes, outputs=None, **more):
    unknown = (set(knobs) - {"threads"}) | set(more)
    if unknown:
        raise NotImplementedError(f"this engine does not know {unknown}")
    options = ort.SessionOptions()
    options.intra_op_num_threads = int(knobs.get("threads", 1))
    names = [output["name"] for output in model["outputs"]] or None
    feeds = [feed(model["inputs"], path) for path in inputs]
    file, span = step(lambda: open(model["path"], "rb").read())
    say("loaded", **{"span": span})
    session, span = step(lambda: ort.InferenceSession(file, options, providers=["CPUExecutionProvider"]))
    say("prepared", span=span)
    saved, given = {}, names
    for number, arrays_in in enumerate(feeds):
        began = time.monotonic_ns()
        for turn in range(passes["at_most"]):
            if turn >= passes["at_least"] and time.monotonic_ns() - began >= passes["budget_ms"] * 1_000_000:
                break
            arrays, span = step(session.run, names, arrays_in)
            digest = hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()
            say("pass", input=number, digest=digest, **span)
            if turn == 0:
                given = names or [output.name for output in session.get_outputs()]
                saved |= {f"{number}/{name}": array for name, array in zip(given, arrays)}
    if outputs:
        write(outputs, saved, given or [])


try:
    say("hello", protocol=3, backend="ort-python", main_ns=begun)
    text = sys.argv[1]
    request = json.loads(open(text[1:]).read() if text.startswith("@") else text)
    import numpy as np

    ort, span = step(__import__, "onnxruntime")
    say("started", span=span)
    if request == "describe":
        engine = {"version": ort.__version__, "binding": "Python", "library": None, "details": {}}
        threads = {"name": "threads", "values": "count", "default": "1", "help": "of one operator"}
        say("description", engine=engine, formats=["onnx"], knobs=[threads])
    elif isinstance(request, dict) and "trial" in request:
        trial(**request["trial"])
    else:
        raise NotImplementedError(f"this engine does not answer {request}")
    say("done")
except Exception as error:
    kinds = {NotImplementedError: "unsupported", ValueError: "input", KeyError: "input"}
    kind = kinds.get(type(error), "engine")
    say("failed", kind=kind, phase=None, chain=[f"{type(error).__name__}: {error}"])
    sys.exit(1)
