"""Runs a network over any number of pictures: whole batches, distributed over all devices.

There is one program for every shape. Pictures are uint8 RGB [h, w, 3], given as an array [n, h, w,
3] or as any iterable that is read once, so a folder can be read while it is scored and need not fit
into memory. The last batch is padded with zeros, which are dropped again.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, UInt8

from diffcam_jax.errors import UserError
from diffcam_jax.ops.image import resize, to_unit

Pictures = Iterable[np.ndarray]
_AXIS = "pictures"
_SPLIT, _EVERYWHERE = PartitionSpec(_AXIS), PartitionSpec()


def to_square(images: UInt8[Array, "b h w 3"], side: int) -> Float[Array, "b side side 3"]:
    """Scales uint8 pictures to float32 in [-1, 1] at side x side.

    Each axis by itself is area-averaged when shrinking, bilinear when enlarging.
    """
    h, w = images.shape[1:3]
    x = resize(to_unit(images), (side, w), "area" if h > side else "bilinear")
    return resize(x, (side, side), "area" if w > side else "bilinear")


class Batched:
    """A function of pictures, run batch by batch on every device.

    Args:
        function: (variables, pictures [b, ...], ...) -> one array with b rows; each row depends on
            its own pictures only.
        variables: arrays of the network; every device has a copy.
        prepare: uint8 [b, h, w, 3] -> the input of `function`, of one shape whatever h and w are.
            It is compiled anew for every size of picture, the network is not.
        devices: None uses all devices of this process.
        batch: pictures per device at a time.
    """

    def __init__(
        self,
        function: Callable[..., Array],
        variables: Any,
        prepare: Callable[[Array], Array],
        devices: Sequence[jax.Device] | None = None,
        batch: int = 8,
    ) -> None:
        devices = list(jax.local_devices() if devices is None else devices)
        mesh = Mesh(np.asarray(devices), (_AXIS,))
        self.rows = batch * len(devices)
        self._split = NamedSharding(mesh, _SPLIT)
        self._variables = jax.device_put(variables, NamedSharding(mesh, _EVERYWHERE))

        def shared(
            call: Callable[..., Array], first: PartitionSpec, *rest: PartitionSpec
        ) -> Callable[..., Array]:
            mapped = jax.shard_map(
                call, mesh=mesh, in_specs=(first, *rest), out_specs=_SPLIT, check_vma=False
            )
            return _exact(jax.jit(mapped))

        self._prepare, self._prepare_one = shared(prepare, _SPLIT), _exact(jax.jit(prepare))
        self._programs = [shared(function, _EVERYWHERE, *[_SPLIT] * count) for count in (1, 2)]

    def __call__(self, *columns: Pictures) -> np.ndarray:
        """The function's rows for all pictures.

        Args:
            *columns: one set of pictures, or two that are taken pairwise.

        Returns:
            [n, ...]; without pictures [0].

        Raises:
            UserError: the sets have different lengths, or something in them is not an RGB picture
                of 8 bits.
        """
        program, found, waiting = self._programs[len(columns) - 1], [], None
        for batch in _batches(columns, self.rows):
            inputs = [self._place(pictures) for pictures in batch]
            if len({x.shape for x in inputs}) > 1:
                raise UserError("the two pictures of a pair differ in size; scale them to one size")
            dispatched = program(self._variables, *inputs), len(batch[0])
            # The devices work on this batch while the previous one is fetched and the next one is
            # read.
            if waiting is not None:
                found.append(np.asarray(waiting[0])[: waiting[1]])
            waiting = dispatched
        if waiting is None:
            return np.zeros(0, np.float32)
        return np.concatenate([*found, np.asarray(waiting[0])[: waiting[1]]])

    def _place(self, pictures: list[np.ndarray]) -> Array:
        missing = self.rows - len(pictures)
        if len({picture.shape for picture in pictures}) == 1:
            stacked = np.stack(pictures + [np.zeros_like(pictures[0])] * missing)
            return self._prepare(jax.device_put(stacked, self._split))
        ready = [np.asarray(self._prepare_one(picture[None]))[0] for picture in pictures]
        if len({picture.shape for picture in ready}) > 1:
            raise UserError("the pictures differ in size; scale them to one size")
        return jax.device_put(np.stack(ready + [np.zeros_like(ready[0])] * missing), self._split)


def _exact(program: Callable[..., Array]) -> Callable[..., Array]:
    """The program with float32 matrix products, on which published numbers are based.

    GPUs would otherwise round the factors.
    """

    def run(*arguments: Any) -> Array:
        with jax.default_matmul_precision("highest"):
            return program(*arguments)

    return run


def _batches(columns: Sequence[Pictures], rows: int) -> Iterator[tuple[list[np.ndarray], ...]]:
    iterators = [iter(column) for column in columns]
    while True:
        batch = tuple(
            [checked(picture) for picture in islice(iterator, rows)] for iterator in iterators
        )
        if len({len(part) for part in batch}) > 1:
            raise UserError(
                "the two sets have different numbers of pictures; pairs need the same number of "
                "both"
            )
        if batch[0]:
            yield batch
        if len(batch[0]) < rows:
            return


def checked(picture: np.ndarray) -> UInt8[np.ndarray, "h w 3"]:
    """The picture, if it is uint8 RGB.

    Raises:
        UserError: it is not.
    """
    picture = np.asarray(picture)
    if (
        picture.dtype != np.uint8
        or picture.ndim != 3
        or picture.shape[2] != 3
        or 0 in picture.shape
    ):
        raise UserError(
            f"a picture of shape {picture.shape} and type {picture.dtype} cannot be scored; give "
            "RGB of 8 bits, [h, w, 3]"
        )
    return picture


def aligned(picture: np.ndarray) -> UInt8[np.ndarray, "s s 3"]:
    """The picture, if it can be an aligned face.

    Raises:
        UserError: it is not uint8 RGB, or not square.
    """
    picture = checked(picture)
    if picture.shape[0] != picture.shape[1]:
        raise UserError(
            f"a picture of {picture.shape[1]}x{picture.shape[0]} pixels is not an aligned face; "
            "give square crops like FFHQ's"
        )
    return picture


def runs(pictures: Pictures, most: int) -> Iterator[UInt8[np.ndarray, "n s s 3"]]:
    """Aligned faces in stacks of one size, in their order.

    Args:
        pictures: as in `Batched`.
        most: largest number of pictures in a stack.
    """
    stack: list[np.ndarray] = []
    for picture in map(aligned, pictures):
        if stack and (len(stack) == most or stack[0].shape != picture.shape):
            yield np.stack(stack)
            stack = []
        stack.append(picture)
    if stack:
        yield np.stack(stack)
