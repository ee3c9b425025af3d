#!/usr/bin/env python3
"""ONNX Runtime's Python package as an engine: `firstpass check MODEL --engine ort-python=./engine.py`.

All that an engine has to be is a program that speaks suite/probe/PROTOCOL.md.
"""

import hashlib, json, os, sys, time

messages = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)  # What the engine prints itself is no message.


def say(message, **fields):
    messages.write(json.dumps({"message": message, **fields}) + "\n")


def timed(work, *arguments):
    began = time.monotonic_ns()
    value = work(*arguments)
    return value, {"start_ns": began, "wall_ns": time.monotonic_ns() - began}


def feed(inputs, path):
    tensors = load_file(path)
    for spec in inputs:
        if list(tensors[spec["name"]].shape) != spec["shape"]:
            raise ValueError(f"{spec['name']} has another shape than {spec['shape']}")
    return {spec["name"]: tensors[spec["name"]] for spec in inputs}


def trial(knobs, model, inputs, passes, outputs=None, **more):
    if unknown := (set(knobs) - {"threads"}) | set(more):
        raise NotImplementedError(f"this engine does not know {unknown}")
    options = ort.SessionOptions()
    options.intra_op_num_threads = int(knobs.get("threads", 1))
    file, span = timed(lambda: open(model["path"], "rb").read())
    say("loaded", span=span)
    session, span = timed(lambda: ort.InferenceSession(file, options, providers=["CPUExecutionProvider"]))
    say("prepared", span=span)
    names = [output["name"] for output in model["outputs"]] or [output.name for output in session.get_outputs()]
    saved = {}
    for number, path in enumerate(inputs):
        tensors, began = feed(model["inputs"], path), time.monotonic_ns()
        for turn in range(passes["at_most"]):
            if turn >= passes["at_least"] and time.monotonic_ns() - began >= passes["budget_ms"] * 1_000_000:
                break
            arrays, span = timed(session.run, names, tensors)
            digest = hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()
            say("pass", input=number, digest=digest, **span)
            if turn == 0:
                saved |= {f"{number}/{name}": array for name, array in zip(names, arrays)}
    if outputs:
        save_file(saved, outputs, metadata={"outputs": json.dumps(names)})


try:
    say("hello", protocol=3, backend="ort-python", main_ns=time.monotonic_ns())
    request = json.loads(open(sys.argv[1][1:]).read() if sys.argv[1].startswith("@") else sys.argv[1])
    from safetensors.numpy import load_file, save_file

    ort, span = timed(__import__, "onnxruntime")
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
    say("failed", kind=kinds.get(type(error), "engine"), phase=None, chain=[f"{type(error).__name__}: {error}"])
    sys.exit(1)
