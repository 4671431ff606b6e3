"""A domain without faces to try diffcam-domain on: Noto's emoji of people, in five skin tones.

    python -m benchmarks.emoji --out EMOJI
    python -m diffcam_jax.domain new emoji --pictures EMOJI/pictures --labels EMOJI/labels.csv \
        --size 64 --licence Apache-2.0

    EMOJI/pictures       some 1,700 pictures of 64 pixels, on white
    EMOJI/labels.csv     skin_tone from 1 to 5 (none for yellow ones), and whether it is a hand
    EMOJI/unseen         a tenth of the figures, in all their tones, which training never sees

The pictures are Google's Noto Emoji (Apache licence 2.0), as the npm package
emoji-datasource-google has them.
"""

import argparse
import hashlib
import io
import json
import sys
import tarfile
import urllib.request
from pathlib import Path

from PIL import Image

VERSION = "15.1.2"
PACKAGE = (
    f"https://registry.npmjs.org/emoji-datasource-google/-/emoji-datasource-google-{VERSION}.tgz"
)
SHA512 = (
    "47304c42d7254e74838237ff41b70d024819980eda9774d29d0c4a26f64dc1d0"
    "e338e9587730529a4bc660ff59cc7a414b81c143c20e403b2e795d58080eb82c"
)
TONES = {"1F3FB": 1, "1F3FC": 2, "1F3FD": 3, "1F3FE": 4, "1F3FF": 5}
UNSEEN = 10  # one figure of so many


def fetch(kept: Path) -> bytes:
    """The package, from the registry or from where it was kept before; checked either way."""
    if not kept.exists():
        with urllib.request.urlopen(PACKAGE, timeout=60) as answer:
            data = answer.read(200 << 20)
    else:
        data = kept.read_bytes()
    if hashlib.sha512(data).hexdigest() != SHA512:
        raise SystemExit(f"{PACKAGE}: is another file than was expected")
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_bytes(data)
    return data


def figures(entries: list[dict]) -> list[tuple[str, bool, dict[int, str]]]:
    """(name, whether it is a hand, tone -> file) of every figure that comes in skin tones."""
    found = []
    for entry in entries:
        variations = entry.get("skin_variations", {})
        tones = {0: entry["image"]}
        tones |= {n: variations[code]["image"] for code, n in TONES.items() if code in variations}
        if len(tones) == 1 + len(TONES):
            hand = entry["subcategory"].startswith(("hand", "body"))
            found.append((entry["short_name"], hand, tones))
    return found


def main() -> int:
    """Writes the pictures and the table; see the module."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    with tarfile.open(fileobj=io.BytesIO(fetch(options.out / "package.tgz"))) as archive:
        entries = json.load(archive.extractfile("package/emoji.json"))
        for folder in ("pictures", "unseen"):
            (options.out / folder).mkdir(parents=True, exist_ok=True)
        lines = ["file,skin_tone,hand"]
        for number, (name, hand, tones) in enumerate(sorted(figures(entries))):
            seen = number % UNSEEN != 0
            for tone, file in tones.items():
                with archive.extractfile(f"package/img/google/64/{file}") as data:
                    picture = Image.open(io.BytesIO(data.read())).convert("RGBA")
                white = Image.new("RGBA", picture.size, "white")
                white.alpha_composite(picture)
                target = f"{name.replace('+', 'plus')}_{tone}.png"
                white.convert("RGB").save(options.out / ("unseen", "pictures")[seen] / target)
                if seen:
                    lines.append(f"{target},{tone or ''},{int(hand)}")
    (options.out / "labels.csv").write_text("\n".join(lines) + "\n")
    print(f"{len(lines) - 1} pictures in {options.out / 'pictures'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
