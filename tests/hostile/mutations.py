"""Changes of bytes that know nothing of a format, and the smallest input with the same fault."""

import random
from collections.abc import Callable, Sequence

_NUMBERS = (0, 1, -1, 2, 7, 8, 127, 128, 255, 256, 32767, 32768, 65535, 65536)
_NUMBERS += (2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**63)
_LONGEST = 1 << 20  # bytes of an input


def changed(rng: random.Random, data: bytes, others: Sequence[bytes] = ()) -> bytes:
    """A copy with one to four changes.

    Args:
        rng: decides all of them.
        data: to be changed.
        others: inputs of the same kind, parts of which may be taken over.
    """
    made = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        rng.choice(_CHANGES)(rng, made, others)
    return bytes(made[:_LONGEST])


def _flip(rng: random.Random, made: bytearray, _: Sequence[bytes]) -> None:
    for _ in range(rng.choice((1, 1, 2, 8))):
        if made:
            made[rng.randrange(len(made))] ^= 1 << rng.randrange(8)


def _number(rng: random.Random, made: bytearray, _: Sequence[bytes]) -> None:
    size, order = rng.choice((1, 2, 4, 8)), rng.choice(("little", "big"))
    place = rng.randrange(len(made) + 1)
    number = rng.choice((*_NUMBERS, len(made), rng.randrange(65536)))
    made[place : place + size] = (number % 256**size).to_bytes(size, order)


def _cut(rng: random.Random, made: bytearray, _: Sequence[bytes]) -> None:
    del made[rng.randrange(len(made) + 1) :]


def _remove(rng: random.Random, made: bytearray, _: Sequence[bytes]) -> None:
    start, stop = _span(rng, made)
    del made[start:stop]


def _repeat(rng: random.Random, made: bytearray, _: Sequence[bytes]) -> None:
    start, stop = _span(rng, made)
    times = rng.choice((1, 1, 2, 64))
    made[start:start] = made[start:stop] * times if (stop - start) * times < _LONGEST else b""


def _insert(rng: random.Random, made: bytearray, _: Sequence[bytes]) -> None:
    place = rng.randrange(len(made) + 1)
    made[place:place] = rng.randbytes(rng.choice((1, 2, 4, 16)))


def _splice(rng: random.Random, made: bytearray, others: Sequence[bytes]) -> None:
    if others:
        other = rng.choice(others)
        start, stop = _span(rng, other)
        place = rng.randrange(len(made) + 1)
        made[place : place + rng.choice((0, stop - start))] = other[start:stop]


_CHANGES: tuple[Callable[[random.Random, bytearray, Sequence[bytes]], None], ...]
_CHANGES = (_flip, _flip, _number, _number, _cut, _remove, _repeat, _insert, _splice)


def _span(rng: random.Random, data: bytes | bytearray) -> tuple[int, int]:
    start = rng.randrange(len(data) + 1)
    return start, min(start + rng.choice((1, 4, 16, 64, len(data))), len(data))


def shrunk(data: bytes, is_same: Callable[[bytes], bool], tries: int = 4000) -> bytes:
    """The input with as much left out as still shows the same fault.

    Args:
        data: input.
        is_same: whether an input shows the fault.
        tries: how often it is asked at most.
    """
    size = max(len(data) // 2, 1)
    while size and tries > 0:
        place, removed = 0, False
        while place < len(data) and tries > 0:
            shorter = data[:place] + data[place + size :]
            tries -= 1
            if is_same(shorter):
                data, removed = shorter, True
            else:
                place += size
        if not removed:
            size //= 2
    return data
