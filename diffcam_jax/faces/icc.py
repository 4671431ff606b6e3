"""Colour profiles (ICC.1:2010) that this program makes itself: three primaries and one curve.

A result has colours even where the photograph is grey, so the profile of a grey photograph becomes
one of RGB with the same curve. Equal channels mean the same light in both.
"""

import struct

import numpy as np
from jaxtyping import Float

# In units of 1/65536, as profiles store them: the white D50, and the primaries of sRGB and of
# Adobe RGB (1998), adapted to it. The last primary is what the others leave of the white.
_WHITE = (63190, 65536, 54061)
_SRGB = ((28578, 14582, 913), (25235, 46981, 6364))
_ADOBE_RGB = ((39960, 20389, 1276), (13453, 41004, 3989))
_DATE = (2000, 1, 1, 0, 0, 0)  # of every profile, so that equal photographs give equal files
_PARAMETERS = (1, 3, 4, 5, 7)  # numbers in a parametric curve, by its kind
_SAMPLES = 4096


def adobe_rgb() -> bytes:
    """A profile that is equal to Adobe RGB (1998): its primaries, and a gamma of 563/256."""
    return _matrix_profile("Adobe RGB (1998) compatible", _curve([563]), _ADOBE_RGB)


def rgb_of_grey(profile: bytes) -> bytes | None:
    """The profile of RGB pixels that look as grey pixels do under a profile of theirs.

    Args:
        profile: of a grey picture.

    Returns:
        A profile with the curve of the grey one; None where no curve can be read from it.
    """
    curve = _tag(profile, b"kTRC")
    if curve is None:
        return None
    if profile[20:24] == b"Lab ":  # then the curve gives lightness, not light
        lightness = 100 * _evaluated(curve, np.linspace(0, 1, _SAMPLES))
        root = (lightness + 16) / 116
        light = np.nan_to_num(np.where(lightness > 8, root**3, lightness * 27 / 24389))
        curve = _curve(np.round(65535 * light.clip(0, 1)).astype(int).tolist())
    return _matrix_profile("Grey as RGB", curve, _SRGB)


def _tag(profile: bytes, name: bytes) -> bytes | None:
    """The curve under a tag, cut to its true length; None where there is no sound one."""
    if len(profile) < 132:
        return None
    (count,) = struct.unpack_from(">I", profile, 128)
    for i in range(min(count, (len(profile) - 132) // 12)):
        kind, start, size = struct.unpack_from(">4sII", profile, 132 + 12 * i)
        if kind == name:
            tag = profile[start : start + size]
            break
    else:
        return None
    if len(tag) < 12:
        return None
    if tag[:4] == b"curv":
        length = 12 + 2 * struct.unpack_from(">I", tag, 8)[0]
    elif tag[:4] == b"para" and tag[8:9] == b"\0" and tag[9] < len(_PARAMETERS):
        length = 12 + 4 * _PARAMETERS[tag[9]]
    else:
        return None
    return tag[:length] if length <= len(tag) else None


def _evaluated(curve: bytes, x: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """A curve at places in [0, 1] (ICC.1:2010, 10.5 and 10.15)."""
    if curve[:4] == b"curv":
        values = np.frombuffer(curve, ">u2", offset=12)
        if len(values) < 2:
            return x ** (values[0] / 256 if len(values) else 1.0)
        return np.interp(x, np.linspace(0, 1, len(values)), values / 65535)
    numbers = (np.frombuffer(curve, ">i4", offset=12) / 65536).tolist()
    kind, g = curve[9], numbers[0]
    a, b, c, d, e, f = (*numbers[1:], *[0.0] * 6)[:6] if kind else (1.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    if kind in (1, 2):  # below -b/a these are constant
        c, d, e, f = 0.0, -b / a if a else 0.0, *([c, c] if kind == 2 else [0.0, 0.0])
    return np.where(x >= d, (a * x + b).clip(0) ** g + e, c * x + f)


def _curve(values: list[int]) -> bytes:
    """A curve by its samples of 16 bits, or a gamma in units of 1/256."""
    return b"curv\0\0\0\0" + struct.pack(f">I{len(values)}H", len(values), *values)


def _matrix_profile(name: str, curve: bytes, primaries: tuple[tuple[int, ...], ...]) -> bytes:
    """A display profile of version 4.

    Args:
        name: shown to people.
        curve: the tag of the curve of all three channels.
        primaries: red and green, three numbers each.
    """
    red, green = primaries
    blue = tuple(w - r - g for w, r, g in zip(_WHITE, red, green))
    tags = {
        b"desc": _text(name),
        b"cprt": _text("No copyright, use freely"),
        b"wtpt": _xyz(_WHITE),
        b"rXYZ": _xyz(red),
        b"gXYZ": _xyz(green),
        b"bXYZ": _xyz(blue),
    }
    start = 132 + 12 * (len(tags) + 3)
    table, content = b"", b""
    for kind, tag in tags.items():
        table += struct.pack(">4sII", kind, start + len(content), len(tag))
        content += _padded(tag)
    for kind in (b"rTRC", b"gTRC", b"bTRC"):  # one curve for all
        table += struct.pack(">4sII", kind, start + len(content), len(curve))
    content += _padded(curve)
    size = start + len(content)
    header = struct.pack(
        ">I4sI4s4s4s12s4s4x4x4x4x8xI3i4x16x28x",
        *(
            size,
            b"",
            0x04200000,
            b"mntr",
            b"RGB ",
            b"XYZ ",
            struct.pack(">6H", *_DATE),
        ),
        *(b"acsp", 0, *_WHITE),
    )
    return header + struct.pack(">I", len(tags) + 3) + table + content


def _xyz(values: tuple[int, ...]) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *values)


def _text(words: str) -> bytes:
    encoded = words.encode("utf-16-be")
    return b"mluc\0\0\0\0" + struct.pack(">II4sII", 1, 12, b"enUS", len(encoded), 28) + encoded


def _padded(tag: bytes) -> bytes:
    return tag + bytes(-len(tag) % 4)
