"""PyTorch in a plain loop, for `cargo firstpass overhead`.

Takes the request that the probe takes, as JSON in its only argument, and prints one line of JSON.
"""

import ctypes
import hashlib
import json
import math
import os
import pathlib
import struct
import subprocess
import sys
import time

import numpy as np

# What PyTorch's package for Linux, a CUDA build, wants to load before it runs on a processor, and
# what is not in requirements.txt: more than 2 GB, of which nothing is called here.
CUDA_LIBRARIES = [
    "libcublas.so.13",
    "libcublasLt.so.13",
    "libcudnn.so.9",
    "libcufft.so.12",
    "libcufile.so.0",
    "libcurand.so.10",
    "libcusparse.so.12",
    "libcusparseLt.so.0",
    "libnccl.so.2",
    "libnvrtc.so.13",
    "libnvshmem_host.so.3",
]


def import_torch():
    """Imports torch, with an empty library in the place of each one that is never called.

    The libraries of torch that run on a processor (libtorch_cpu, libc10, libgomp) are those of the
    package, untouched. The functions of the empty ones are only looked up when they are called,
    because RTLD_LAZY says so.
    """
    if sys.platform == "linux":
        folder = pathlib.Path(sys.prefix, "empty-libraries")
        folder.mkdir(exist_ok=True)
        for name in CUDA_LIBRARIES:
            path = folder / name
            if not path.exists():
                # Renamed when complete, so that an interruption leaves nothing half-made.
                partial = folder / f"{name}.{os.getpid()}"
                link = [os.environ.get("CC", "cc"), "-shared", "-nostdlib", "-x", "c", "/dev/null"]
                subprocess.run([*link, f"-Wl,-soname,{name}", "-o", partial], check=True)
                partial.rename(path)
            ctypes.CDLL(str(path))
        sys.setdlopenflags(os.RTLD_LAZY)
    import torch

    return torch


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
    torch = import_torch()
    trial = json.loads(sys.argv[1])["trial"]
    model = trial["model"]
    image = read_tensor(trial["inputs"][0], model["inputs"][0]["name"])

    torch.backends.quantized.engine = "fbgemm"
    torch.set_num_threads(int(trial["knobs"].get("threads", 1)))
    torch.set_num_interop_threads(1)
    module = torch.jit.load(model["path"])
    module.eval()

    passes_ns = []
    with torch.no_grad():
        for _ in range(trial["passes"]["at_most"]):
            began = time.perf_counter_ns()
            # A copy of the input, as the backend makes one: a module may write to its arguments.
            found = module(torch.tensor(image))
            # A detector's tuple also holds None, for what only its training returns.
            outputs = [output.numpy() for output in found if output is not None]
            passes_ns.append(time.perf_counter_ns() - began)

    digest = hashlib.sha256()
    for output in outputs:
        digest.update(np.ascontiguousarray(output, "<f4").tobytes())
    answer = {
        "engine": torch.__version__,
        "passes_ns": passes_ns,
        "outputs_sha256": digest.hexdigest(),
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
