"""Reading single files out of archives: the right content, nothing on disk, and refusal of what
does harm.
"""

import io
import tarfile
import zipfile

import numpy as np
import pytest

from diffcam_jax.errors import UserError
from diffcam_jax.pretrained.archives import list_members, read_members

CONTENT = np.random.default_rng(0).bytes(300_000)


def zip_bytes() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in {"p/x": b"1", "../y": b"2", "p/big": CONTENT}.items():
            archive.writestr(name, content)
    return file.getvalue()


def tar_bytes(entries) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, content in entries:
            info = tarfile.TarInfo(name)
            if content is None:
                info.type, info.linkname = tarfile.SYMTYPE, "/etc/hostname"
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def test_members_are_read_by_name_from_zip_and_tar(tmp_path):
    (tmp_path / "a.tar.gz").write_bytes(tar_bytes([("p/x", b"1"), ("../y", b"2"), ("p/z", b"3")]))
    (tmp_path / "a.whl").write_bytes(zip_bytes())
    assert list_members(tmp_path / "a.tar.gz") == ["p/x", "../y", "p/z"]
    assert read_members(tmp_path / "a.tar.gz", ["p/z", "p/x"]) == {"p/x": b"1", "p/z": b"3"}
    assert read_members(tmp_path / "a.whl", ["p/x"]) == {"p/x": b"1"}
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.tar.gz", "a.whl"]


def test_oversize_links_and_damage_are_refused(tmp_path):
    wheel, tar = tmp_path / "a.whl", tmp_path / "a.tar.gz"
    wheel.write_bytes(zip_bytes())
    tar.write_bytes(tar_bytes([("link", None), ("big", CONTENT)]))
    for path, name in ((wheel, "p/big"), (tar, "big")):
        assert read_members(path, [name], limit=len(CONTENT)) == {name: CONTENT}
        with pytest.raises(UserError, match="larger than"):
            read_members(path, [name], limit=len(CONTENT) - 1)
    with pytest.raises(UserError, match="has no file link"):
        read_members(tar, ["link"])
    good = {path: path.read_bytes() for path in (wheel, tar)}
    for path, content in good.items():
        for bad in (content[: len(content) // 2], b"", bytes(1000)):
            path.write_bytes(bad)
            with pytest.raises(UserError, match=r"is not a readable|has no file"):
                read_members(path, ["p/big" if path == wheel else "big"])
    flipped = bytearray(good[wheel])
    flipped[flipped.index(CONTENT[:50]) + 20] ^= 1
    wheel.write_bytes(flipped)
    with pytest.raises(UserError, match="CRC"):
        read_members(wheel, ["p/big"])
