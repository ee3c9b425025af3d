"""Runs the ONNX standard's own tests of every operator of the executor, and writes `operators.md`.

    python node_tests.py PROBE [--check]

PROBE is the probe's program, `target/release/firstpass-candle`. `--check` compares with the file instead of
writing it. The packages are those of `fixtures/node-tests/requirements.txt`, which makes the tests.

A test is put in three ways, and passes in any: with all inputs given in a pass; and, because shapes, axes
and the like have to be known before it, with all but the first, or all, as constants of the file.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import warnings
from collections import defaultdict
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.test.case.node import collect_testcases

FOLDER = Path(__file__).resolve().parent.parent
TYPES = {"float32": ("F32", "f32"), "float64": ("F64", "f64"), "int64": ("I64", "i64")}
TYPES |= {"int32": ("I32", "i32"), "uint8": ("U8", "u8"), "int8": ("I8", "i8"), "bool": ("BOOL", "bool")}
TYPES |= {"uint16": ("U16", "u16"), "int16": ("I16", "i16"), "uint32": ("U32", "u32"), "uint64": ("U64", "u64")}
TYPES |= {"float16": ("F16", "f16")}
NUMPY = {file: np.dtype(name) for name, (file, _) in TYPES.items()}
# The newest operator set that the executor claims.
OPSET, IR_VERSION = 21, 10
# Operators of other names that stand for those of the table.
MORE = {"QLinearConv", "QLinearMatMul"}


def main() -> None:
    probe, checks = Path(sys.argv[1]), "--check" in sys.argv
    table = (FOLDER / "executor/src/ops/table.rs").read_text()
    operators = set(re.findall(r'^    \("(\w+)", ', table, re.MULTILINE)) | MORE
    with warnings.catch_warnings():
        # Making all tests of the standard overflows here and there, as is intended.
        warnings.simplefilter("ignore")
        cases = collect_testcases(None)
    passed, said = defaultdict(list), defaultdict(list)
    for case in sorted(cases, key=lambda case: case.name):
        nodes = case.model.graph.node if case.model is not None else []
        if len(nodes) != 1 or nodes[0].op_type not in operators or nodes[0].domain:
            continue
        outcome = run(case, probe)
        if outcome is None:
            passed[nodes[0].op_type].append(case.name)
        else:
            said[nodes[0].op_type].append((case.name, outcome))
    text = page(sorted(operators), passed, said)
    path = FOLDER / "operators.md"
    if not checks:
        path.write_text(text)
    elif path.read_text() != text:
        sys.exit(f"{path} is not what the tests give; run this program without --check")


def run(case: object, probe: Path) -> str | None:
    """None where the test passes, otherwise why it does not."""
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    model.ir_version = min(model.ir_version, IR_VERSION)
    for imported in model.opset_import:
        imported.version = min(imported.version, OPSET)
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError:
        return f"left out: needs an operator set above {OPSET}"
    inputs, expected = case.data_sets[0]
    for value in [*inputs, *expected]:
        if not isinstance(value, np.ndarray | np.generic) or value.dtype.name not in TYPES:
            name = getattr(getattr(value, "dtype", None), "name", type(value).__name__)
            return f"left out: values of {name}"
    inputs, expected = ([np.asarray(value) for value in side] for side in (inputs, expected))
    words = once(model, inputs, expected, case, probe)
    for kept in (1, 0):
        if words is None or len(inputs) <= kept:
            continue
        for value, info in list(zip(inputs, model.graph.input, strict=True))[kept:]:
            model.graph.initializer.append(numpy_helper.from_array(value, info.name))
            model.graph.input.remove(info)
        inputs = inputs[:kept]
        again = once(model, inputs, expected, case, probe)
        words = words if again else None
    return words


def once(model: object, inputs: list, expected: list, case: object, probe: Path) -> str | None:
    """Runs the model on the probe; None where the outputs are as expected."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in ("model.onnx", "in", "out")]
        onnx.save(model, paths[0])
        named = [(value.name, given) for value, given in zip(model.graph.input, inputs, strict=True)]
        write(paths[1], named)
        specs = [
            {"name": name, "shape": list(value.shape), "dtype": TYPES[value.dtype.name][1]}
            for name, value in named
        ]
        outputs = [{"name": output.name} for output in model.graph.output]
        declared = {"name": "test", "format": "onnx", "path": str(paths[0])}
        trial = {
            "model": declared | {"inputs": specs, "outputs": outputs},
            "knobs": {},
            "inputs": [str(paths[1])],
            "passes": {"at_least": 1, "at_most": 1, "budget_ms": 0},
            "outputs": str(paths[2]),
        }
        done = subprocess.run(
            [probe, json.dumps({"trial": trial})], capture_output=True, text=True, check=False
        )
        last = json.loads(done.stdout.splitlines()[-1])
        if last["message"] != "done":
            # The innermost cause; the others name the file and the node.
            return last["chain"][-1]
        found = read(paths[2])
    for output, value in zip(model.graph.output, expected, strict=True):
        got = found[f"0/{output.name}"]
        if got.shape != value.shape:
            return f"its output has shape {got.shape}, not {value.shape}"
        if got.dtype != value.dtype:
            return f"its output is of {got.dtype}, not of {value.dtype}"
        if value.dtype.kind == "f":
            is_close = np.allclose(got, value, case.rtol, case.atol, equal_nan=True)
        else:
            is_close = np.array_equal(got, value)
        if not is_close:
            return "its output differs"
    return None


def write(path: Path, tensors: list) -> None:
    """A safetensors file."""
    header, data = {}, b""
    for name, value in tensors:
        raw = np.ascontiguousarray(value).tobytes()
        span = [len(data), len(data) + len(raw)]
        kind = TYPES[value.dtype.name][0]
        header[name] = {"dtype": kind, "shape": list(value.shape), "data_offsets": span}
        data += raw
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def read(path: Path) -> dict:
    """The tensors of a safetensors file."""
    raw = path.read_bytes()
    begin = 8 + int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:begin])
    header.pop("__metadata__", None)
    return {
        name: np.frombuffer(
            raw[begin + of["data_offsets"][0] : begin + of["data_offsets"][1]], NUMPY[of["dtype"]]
        ).reshape(of["shape"])
        for name, of in header.items()
    }


def page(operators: list, passed: dict, said: dict) -> str:
    """A row an operator, and what is said of the tests that do not pass."""
    lines = [
        "# Operators",
        "",
        "The ONNX standard's own tests of every operator of the executor: how many pass, of those that can be put"
        f" to a probe and are of an operator set up to {OPSET}. `python/node_tests.py` writes this page.",
        "",
        "| operator | passed | not passed |",
        "|---|---|---|",
    ]
    for operator in operators:
        failed = [(name, why) for name, why in said[operator] if not why.startswith("left out")]
        count = len(passed[operator]) + len(failed)
        by_words = defaultdict(list)
        for name, why in failed:
            by_words[why].append(name.removeprefix("test_"))
        words = "; ".join(f"{', '.join(names)}: {why}" for why, names in sorted(by_words.items()))
        words = words.replace("|", "\\|")
        lines.append(f"| {operator} | {len(passed[operator])} of {count} | {words} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
