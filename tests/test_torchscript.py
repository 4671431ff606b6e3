"""TorchScript archives: modules become names and arrays, whatever else is in them stays shut."""

import io
import pickle
import struct
import zipfile

import numpy as np
import pytest

from diffcam_jax.errors import UserError
from diffcam_jax.formats import read_torch, read_torchscript
from tests.damaged import count_refused


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def plain(value) -> bytes:
    """A value as a piece of a pickle: without the protocol in front and the stop behind."""
    return pickle.dumps(value, 2)[2:-1]


def module(name: str, **attributes: bytes) -> bytes:
    """An object of a class of the program, as torch writes it: made without a call, then given its
    attributes.
    """
    items = b"".join(text(key) + value for key, value in attributes.items())
    return f"c__torch__.net\n{name}\n".encode() + b")\x81}(" + items + b"ub"


def tensor(
    key: str, shape: tuple[int, ...], strides: tuple[int, ...], count: int, kind: str = "Float"
) -> bytes:
    storage = (
        b"("
        + text("storage")
        + f"ctorch\n{kind}Storage\n".encode()
        + text(key)
        + text("cpu")
        + plain(count)
        + b"tQ"
    )
    rest = (
        plain(0) + plain(shape) + plain(strides) + plain(False) + b"ccollections\nOrderedDict\n)R"
    )
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + rest + b"tR"


def typed(function: str, *arguments) -> bytes:
    return f"ctorch.jit._pickle\n{function}\n(".encode() + b"".join(map(plain, arguments)) + b"tR"


def archive(
    tree: bytes, storages: dict[str, np.ndarray], compression: int = zipfile.ZIP_STORED
) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as zipped:
        for key, array in storages.items():
            zipped.writestr(f"net/data/{key}", array.tobytes())
        zipped.writestr("net/data.pkl", b"\x80\x02" + tree + b".")
        # As torch does, the program's code is compressed; this one would be noticed if it were run.
        zipped.writestr(
            "net/code/__torch__/net.py", "raise SystemExit('code was run')", zipfile.ZIP_DEFLATED
        )
        zipped.writestr("net/constants.pkl", b"\x80\x02).")
    return file.getvalue()


WEIGHT, COUNT = np.arange(6, dtype="<f4"), np.array([7], "<i8")
CONV = module(
    "Conv",
    weight=tensor("0", (3, 2), (1, 3), 6),
    training=b"\x89",
    bias=b"N",
    stride=plain(2),
    sizes=typed("build_intlist", [1, 2]),
    names=typed("restore_type_tag", ["a"], "List[str]"),
)
EXAMPLE = module(
    "Net",
    layers=module("Sequential", conv=CONV),
    steps=tensor("1", (), (), 1, "Long"),
    scale=plain(0.5),
)


@pytest.mark.parametrize("as_path", [True, False])
def test_modules_become_dotted_names(tmp_path, as_path):
    source = archive(EXAMPLE, {"0": WEIGHT, "1": COUNT})
    if as_path:
        (tmp_path / "net.pt").write_bytes(source)
        source = tmp_path / "net.pt"
    read = read_torchscript(source)
    assert list(read) == ["layers.conv.weight", "steps"]
    np.testing.assert_array_equal(read["layers.conv.weight"], [[0, 3], [1, 4], [2, 5]])
    assert read["steps"].dtype == np.int64
    assert read["steps"] == 7
    with pytest.raises(ValueError, match="read-only"):
        read["layers.conv.weight"][0, 0] = 1


@pytest.mark.parametrize(
    "call",
    [
        b"cos\nsystem\n",
        b"cbuiltins\neval\n",
        b"ctorch.jit._pickle\nbuild_tensor_from_id\n",
        b"ctorch\nload\n",
        b"ctorch.jit\nload\n",
        b"c__torch\nNet\n",
    ],
)
def test_calls_are_refused(tmp_path, call):
    mark = tmp_path / "mark"
    harm = call + b"(" + text(f"touch {mark}") + b"tR"
    with pytest.raises(UserError, match="not data"):
        read_torchscript(archive(module("Net", a=harm), {}))
    assert not mark.exists()


def test_a_program_cannot_change_the_reader():
    # BUILD and SETITEM on the class itself, and a call with arguments of its choice.
    for attack in (
        b"c__torch__.net\nNet\n}" + text("update") + b"K\x01sb",
        b"c__torch__.net\nNet\n" + text("a") + b"K\x01s",
    ):
        with pytest.raises(UserError, match="TorchScript"):
            read_torchscript(archive(attack, {}))
    assert list(read_torchscript(archive(EXAMPLE, {"0": WEIGHT, "1": COUNT}))) == [
        "layers.conv.weight",
        "steps",
    ]
    assert (
        read_torchscript(archive(b"c__torch__.net\nNet\n(((" + text("a") + b"K\x01tttR", {})) == {}
    )


def test_a_module_within_itself_and_nested_laughs_end():
    loop = (
        b"c__torch__.net\nNet\n)\x81q\x00}("
        + text("me")
        + b"h\x00"
        + text("w")
        + tensor("0", (6,), (1,), 6)
        + b"ub"
    )
    assert list(read_torchscript(archive(loop, {"0": WEIGHT}))) == ["w"]
    laughs = module("Net", w=tensor("0", (6,), (1,), 6))
    for level in range(40):  # each holds the one before it twice
        name = f"{level}\n".encode()
        laughs += b"p" + name + b"0" + module("Net", a=b"g" + name, b=b"g" + name)
    assert list(read_torchscript(archive(laughs, {"0": WEIGHT}))) == [".".join(["a"] * 40 + ["w"])]


def test_archives_of_other_kinds_are_refused(tmp_path):
    storages = {"0": WEIGHT, "1": COUNT}
    sources = {
        "compressed": archive(EXAMPLE, storages, zipfile.ZIP_DEFLATED),
        "a list, not a module": archive(plain([1]), {}),
        "no item named": archive(EXAMPLE, {"0": WEIGHT}),
        "buffer is smaller": archive(EXAMPLE, {"0": WEIGHT[:3], "1": COUNT}),
        "a tensor of shape": archive(module("Net", a=tensor("0", (7,), (1,), 6)), storages),
        "zip": b"<html>this link has expired</html>",
    }
    for message, source in sources.items():
        with pytest.raises(UserError, match=message):
            read_torchscript(source)
    with pytest.raises(UserError, match="no TorchScript archive at"):
        read_torchscript(tmp_path / "missing.pt")
    with pytest.raises(UserError, match=r"__torch__\.net\.Net"):
        read_torch(archive(EXAMPLE, storages))


def test_damaged_archives_never_end_in_another_error():
    good = archive(EXAMPLE, {"0": WEIGHT, "1": COUNT})
    assert count_refused(read_torchscript, good, seed=2, trials=200, cut=0.3) > 50
