"""Numbers that others published, to be shown beside ours.

Never measured here, always with the protocol they come from.
"""

from diffcam_jax.evaluation.tables import Table

_GANINVERTER = """\
optimisation W | - | 15.85 | .0670 | .1967 | .32 | 25.74 | -
optimisation W+ | - | 20.59 | .0242 | .1092 | .77 | 17.08 | -
pSp | - | 18.03 | .0345 | .1591 | .56 | 25.25 | 0.041
e4e | - | 16.66 | .0472 | .1974 | .50 | 28.50 | 0.042
LSAP | - | 17.50 | .0391 | .1765 | .53 | 29.31 | 0.042
ReStyle-e4e | - | 17.09 | .0428 | .1904 | .51 | 25.51 | 0.150
W encoder | HyperStyle | 20.09 | .0219 | .0985 | .74 | 21.67 | 0.162
W | PTI | 24.61 | .0082 | .0817 | .85 | 14.28 | 59
e4e | HFGI | 20.14 | .0210 | .1166 | .68 | 16.07 | 0.067
e4e | SAM | 20.59 | .0193 | .1442 | .57 | 17.36 | 67
LSAP | SAM | 21.62 | .0152 | .1205 | .60 | 15.27 | 67
e4e | DHR | 28.17 | .0035 | .0438 | .87 | 6.00 | 12
LSAP | DHR | 28.28 | .0034 | .0422 | .88 | 6.06 | 12"""

_SFE = """\
e4e | .199 | .047 | 28.97 | .625 | 51.25 | 119.4 | 68.46 | .034
pSp | .161 | .034 | 25.16 | .651 | 46.22 | 105.7 | 67.51 | .034
StyleTransformer | .158 | .034 | 22.81 | .656 | 32.94 | 81.03 | 67.25 | .032
ReStyle | .130 | .028 | 20.66 | .669 | 36.37 | 87.41 | 56.03 | .138
Padding | .124 | .023 | 25.75 | .672 | 42.31 | 98.72 | 62.28 | .034
HyperInverter | .105 | .024 | 16.82 | .673 | 41.20 | 93.72 | 65.28 | .105
HyperStyle | .098 | .022 | 20.73 | .700 | 34.58 | 86.76 | 49.27 | .275
HFGI | .117 | .021 | 15.69 | .721 | 27.15 | 77.21 | 51.49 | .072
Feature-Style | .067 | .012 | 10.86 | .758 | 26.03 | 85.69 | 56.05 | .038
StyleRes | .076 | .013 | 8.51 | .797 | 24.47 | 73.09 | 43.70 | .063
PTI | .085 | .008 | 14.47 | .781 | 28.30 | 78.06 | 44.86 | 124
SFE | .019 | .002 | 3.54 | .922 | 24.39 | 73.10 | 41.68 | .070"""

_DIFFCAM = """\
StarGAN | 30.98 | .208
AttGAN | 17.96 | .107
STGAN | 20.97 | .178
StarGAN with CAM-consistency loss | 28.52 | .138
AttGAN with CAM-consistency loss | 15.72 | .099
Diff-CAM | 13.76 | .094"""

_IN_DOMAIN = """\
traditional encoder | .008 | 88.48 | 100.5 | .507
Image2StyleGAN | 290 | 58.04 | 29.19 | .026
domain-guided encoder | .017 | 52.85 | 13.02 | .062
in-domain inversion | 8 | 42.64 | 13.44 | .030"""

_IN_DOMAIN_EDITS = """\
Image2StyleGAN | 112.09 | 38.20 | 83.69 | 28.48
in-domain inversion | 91.18 | 33.91 | 76.43 | 17.99"""


def _table(title: str, columns: str, text: str, *notes: str) -> Table:
    rows = [[cell.strip() for cell in line.split("|")] for line in text.splitlines()]
    return Table(
        title, [column.strip() for column in columns.split("|")], rows, notes, published=True
    )


def _inversions() -> Table:
    """The first half of SFE's Table 1, and what it took."""
    lines = [line.split("|") for line in _SFE.splitlines()]
    rows = "\n".join("|".join([*cells[:5], cells[-1]]) for cells in lines)
    return _table(
        "SFE, Table 1: inversion",
        "method | LPIPS | L2 | FID | MS-SSIM | seconds",
        rows,
        "CelebA-HQ test set; V100 (arXiv 2406.10601). Trunk of LPIPS and scale of L2 are theirs: "
        "read differences within a table, not across.",
    )


def reconstruction() -> list[Table]:
    """GANInverter's benchmark (PTI, DHR) and the first half of SFE's Table 1 (PTI, SFE)."""
    return [
        _table(
            "GANInverter benchmark",
            "embedding | refinement | PSNR dB | MSE | LPIPS-VGG | ID | FID | seconds",
            _GANINVERTER,
            "CelebA-HQ test set, 2,824 pictures, StyleGAN2-FFHQ 1024, uint8 pictures, ID by "
            "ArcFace; RTX 3090, batch 1; README of GANInverter at "
            "e3d5d4d. Other pictures, another generator and another identity network than ours: "
            "read differences within a table, not across.",
        ),
        _inversions(),
    ]


def editing() -> list[Table]:
    """Table 1 of Diff-CAM and Table 1 of SFE."""
    return [
        _table(
            "Diff-CAM, Table 1",
            "method | FID, mean over attributes | LPIPS of the non-edited region",
            _DIFFCAM,
            "CelebA-HQ; age, bushy eyebrows, eyeglasses, beard; FID of original against "
            "manipulated pictures. The trunk of LPIPS, its resolution, "
            "the region and the number of pictures are not given in the paper (arXiv 2207.08134).",
        ),
        _table(
            "SFE, Table 1",
            "method | LPIPS | L2 | FID | MS-SSIM | FID smile- | FID glasses+ | FID old+ | seconds",
            _SFE,
            "CelebA-HQ test set; the three edits by StyleRes's protocol: pictures without the "
            "attribute are edited and compared with those that have "
            "it by their labels; V100 (arXiv 2406.10601).",
        ),
    ]


def in_domain() -> list[Table]:
    """The face columns of both tables of In-Domain GAN Inversion."""
    return [
        _table(
            "In-domain inversion, faces: inversion",
            "method | seconds | FID | SWD | MSE",
            _IN_DOMAIN,
            "FFHQ, StyleGAN v1 at 256; the scale of MSE and SWD is not stated (arXiv "
            "2004.00049). The traditional encoder and the domain-guided "
            "one are what our row encoder is, by the weights that are given.",
        ),
        _table(
            "In-domain inversion, faces: interpolation and manipulation",
            "method | FID, interpolation | SWD, interpolation | FID, manipulation | SWD, "
            "manipulation",
            _IN_DOMAIN_EDITS,
            "As above.",
        ),
    ]
