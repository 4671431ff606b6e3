"""OpenVINO IR: an XML graph and one file of constants.

Read by hand because the openvino package is a large dependency for a list of constants.
"""

import math
from xml.parsers import expat

import numpy as np

from diffcam_jax.errors import UserError

_DTYPES = {
    "f64": "<f8",
    "f32": "<f4",
    "f16": "<f2",
    "i64": "<i8",
    "i32": "<i4",
    "i16": "<i2",
    "i8": "i1",
    "u8": "u1",
    "boolean": "?",
}


def read_openvino_ir(xml_bytes: bytes, bin_bytes: bytes) -> list[tuple[str, np.ndarray]]:
    """Reads the constants of an OpenVINO IR network.

    Args:
        xml_bytes: the graph, version 10 or 11. A document type is refused, so there are no entities
            to expand.
        bin_bytes: the constants that the graph refers to.

    Returns:
        (layer name, read-only array) of every Const layer in file order. Names may repeat.

    Raises:
        UserError: the graph is not of this format, or a constant lies outside `bin_bytes`.
    """
    constants: list[tuple[str, np.ndarray]] = []
    layer: dict[str, str] = {}

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal layer
        if tag == "layer":
            layer = attributes
        elif tag == "data" and layer.get("type") == "Const":
            constants.append((layer["name"], _constant(attributes, bin_bytes)))

    def refuse_doctype(*_) -> None:
        raise UserError(
            "the network's XML declares a document type, which OpenVINO never writes; get the "
            "file again"
        )

    parser = expat.ParserCreate()
    parser.StartElementHandler = start
    parser.StartDoctypeDeclHandler = refuse_doctype
    try:
        parser.Parse(xml_bytes, True)
    except (expat.ExpatError, KeyError, ValueError) as error:
        raise UserError(
            f"not a readable OpenVINO network ({error}); get the .xml and .bin files again"
        ) from error
    return constants


def _constant(attributes: dict[str, str], bin_bytes: bytes) -> np.ndarray:
    shape = [int(size) for size in attributes["shape"].split(",") if size.strip()]
    dtype = np.dtype(_DTYPES[attributes["element_type"]])
    offset, size = int(attributes["offset"]), int(attributes["size"])
    if (
        min([offset, *shape]) < 0
        or size != math.prod(shape) * dtype.itemsize
        or offset + size > len(bin_bytes)
    ):
        raise ValueError(
            f"constant of {size} bytes at {offset} with shape {shape} in {len(bin_bytes)} bytes"
        )
    return np.frombuffer(bin_bytes, dtype, math.prod(shape), offset).reshape(shape)
