"""Grey colour profiles, written byte by byte after ICC.1:2010."""

import struct

D50 = (63190, 65536, 54061)


def gamma(value: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(value * 256))


def table(values) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(f">I{len(values)}H", len(values), *values)


def parametric(kind: int, *numbers: float) -> bytes:
    fixed = [round(number * 65536) for number in numbers]
    return b"para\0\0\0\0" + struct.pack(f">HH{len(fixed)}i", kind, 0, *fixed)


def grey_profile(curve: bytes, space: bytes = b"XYZ ", version: int = 2) -> bytes:
    """A grey profile with a white point and a curve; the curve gives light, or lightness in Lab."""
    if version == 2:
        text = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"Grey\0" + bytes(78)
    else:
        text = b"mluc\0\0\0\0" + struct.pack(">II4sII", 1, 12, b"enUS", 8, 28)
        text += "Grey".encode("utf-16-be")
    white = b"XYZ \0\0\0\0" + struct.pack(">3i", *D50)
    place, entries, content = 132 + 3 * 12, b"", b""
    for name, tag in ((b"desc", text), (b"wtpt", white), (b"kTRC", curve)):
        entries += struct.pack(">4sII", name, place + len(content), len(tag))
        content += tag + bytes(-len(tag) % 4)
    head = struct.pack(">I4xI4s4s4s", place + len(content), version << 24, b"mntr", b"GRAY", space)
    head += bytes(12) + b"acsp" + bytes(28) + struct.pack(">3i", *D50) + bytes(48)
    return head + struct.pack(">I", 3) + entries + content
