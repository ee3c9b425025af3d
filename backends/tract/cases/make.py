"""Makes the models of this folder: `python make.py`, with onnx 1.23.2 and numpy."""

import numpy as np
from onnx import NodeProto, TensorProto, checker, helper, numpy_helper, save

rng = np.random.default_rng(1)


def model(
    name: str,
    nodes: list[NodeProto],
    shape: list[int],
    out: list[int],
    kind: int = TensorProto.FLOAT,
    **constants: np.ndarray,
) -> None:
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        name,
        [value("x", kind, shape)],
        [value("y", kind, out)],
        [numpy_helper.from_array(np.asarray(array), key) for key, array in constants.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    checker.check_model(proto, full_check=True)
    save(proto, f"{name}.onnx")


def convolution(name: str, shape: list[int]) -> None:
    """A 3x3 depthwise convolution of integers."""
    size = (shape[1], 1, 3, 3)
    weights = rng.integers(-127, 128, size).astype(np.int8)
    node = helper.make_node(
        "QLinearConv",
        ["x", "s", "z", "w", "ws", "wz", "ys", "z"],
        ["y"],
        kernel_shape=[3, 3],
        pads=[1, 1, 1, 1],
        group=shape[1],
    )
    model(
        name, [node], shape, shape, TensorProto.UINT8,
        s=np.float32(0.02), z=np.uint8(128), w=weights, ws=np.float32(0.01), wz=np.int8(0),
        ys=np.float32(0.5),
    )  # fmt: skip


def float_convolution(name: str, shape: list[int]) -> None:
    """The same in floats, to compare with."""
    weights = rng.normal(0, 1, (shape[1], 1, 3, 3)).astype(np.float32)
    node = helper.make_node(
        "Conv", ["x", "w"], ["y"], kernel_shape=[3, 3], pads=[1, 1, 1, 1], group=shape[1]
    )
    model(name, [node], shape, shape, w=weights)


def constant_dequantization(name: str) -> None:
    """DequantizeLinear of a constant of i16, added to the input."""
    nodes = [
        helper.make_node("DequantizeLinear", ["c", "s", "z"], ["d"]),
        helper.make_node("Add", ["x", "d"], ["y"]),
    ]
    model(
        name, nodes, [4], [4],
        c=np.array([-300, -1, 0, 1000], np.int16), s=np.float32(0.5), z=np.int16(0),
    )  # fmt: skip


def softmax(name: str) -> None:
    """Softmax of dequantized values, quantized again, as ONNX Runtime's quantizer writes it."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("Softmax", ["d"], ["p"], axis=-1),
        helper.make_node("QuantizeLinear", ["p", "ps", "pz"], ["pq"]),
        helper.make_node("DequantizeLinear", ["pq", "ps", "pz"], ["y"]),
    ]
    model(
        name, nodes, [1, 4, 2], [1, 4, 2],
        s=np.float32(0.05), z=np.uint8(128), ps=np.float32(1 / 255), pz=np.uint8(0),
    )  # fmt: skip


def channels_last(name: str, height: int) -> None:
    """Two convolutions of integers, whose result is turned to channels last."""

    def node(kernel: int, weights: str, x: str, y: str) -> NodeProto:
        inputs = [x, "s", "z", weights, "s", "wz", "s", "z"]
        return helper.make_node("QLinearConv", inputs, [y], kernel_shape=[kernel, kernel])

    nodes = [
        node(1, "pointwise", "x", "a"),
        node(3, "spatial", "a", "b"),
        helper.make_node("Transpose", ["b"], ["y"], perm=[0, 2, 3, 1]),
    ]

    def weights(*size: int) -> np.ndarray:
        return rng.integers(-9, 10, size).astype(np.int8)

    model(
        name, nodes, [1, 4, height, 8], [1, height - 2, 6, 3], TensorProto.UINT8,
        s=np.float32(0.5), z=np.uint8(128), wz=np.int8(0),
        pointwise=weights(4, 4, 1, 1), spatial=weights(3, 4, 3, 3),
    )  # fmt: skip


convolution("qlinearconv-depthwise", [1, 64, 60, 80])
float_convolution("conv-depthwise", [1, 64, 60, 80])
constant_dequantization("dequantizelinear-i16")
softmax("softmax-quantized")
channels_last("qlinearconv-channels-last", 7)
# As high as it has channels.
channels_last("qlinearconv-channels-last-silent", 4)
