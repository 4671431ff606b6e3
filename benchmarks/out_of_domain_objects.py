"""Real objects cut out of photographs and laid onto other faces: a part of `out_of_domain_set`.

An object is outlines in the pixels of its photograph's aligned crop (1024 x 1024, x and y from the
top left corner), so that no picture is stored. Outlines may leave the crop by up to `MARGIN`: what
the photograph shows there belongs to the object too.
"""

import dataclasses

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from diffcam_jax.faces.chips import similarity_transform

SIDE = 1024
MARGIN = 128
_SUBPIXEL = 4  # binary digits of OpenCV's fixed-point coordinates
_SHADOW = 0.35  # how much light an object takes from the face right beside it
_SHADOW_SHIFT, _SHADOW_BLUR = 10.0, 9.0  # pixels downwards, and standard deviation

Outline = tuple[tuple[float, float], ...]


@dataclasses.dataclass(frozen=True)
class RealObject:
    """Something worn or held, as a cut-out.

    Attributes:
        source: photograph that shows it.
        outlines: what belongs to it, x and y in pixels of the source's aligned crop.
        holes: what does not, inside the outlines.
        softness: standard deviation of its border in pixels; more for a source that is blurred.
        anchors: points of the source's face that are laid onto the same points of another: both
            eyes and the mouth, or the sides of the head, in the same pixels; set by hand where the
            object hides them.
        on_head: whether the anchors are the sides of the head (see `HEADS`).
        without: photographs whose faces wear such a thing already, or which it cannot fit.
    """

    source: str
    outlines: tuple[Outline, ...]
    holes: tuple[Outline, ...]
    softness: float
    anchors: Outline
    on_head: bool = False
    without: tuple[str, ...] = ()


def alpha(item: RealObject) -> Float32[np.ndarray, "1280 1280"]:
    """How much of a pixel is the object's, in [0, 1], on the crop with `MARGIN` pixels around it.

    The border lies inside the outline: no colour from behind the object comes along.
    """
    mask = np.zeros((SIDE + 2 * MARGIN,) * 2, np.uint8)
    for value, polygons in ((255, item.outlines), (0, item.holes)):
        for polygon in polygons:
            points = np.round((np.array(polygon) + MARGIN) * 2**_SUBPIXEL).astype(np.int32)
            cv2.fillPoly(mask, [points], value, cv2.LINE_AA, _SUBPIXEL)
    soft = cv2.GaussianBlur(mask.astype(np.float32) / 255, (0, 0), item.softness)
    return np.clip(2 * soft - 1, 0, 1)


def placement(
    item: RealObject,
    face: str,
    eyes_and_mouth: Float[np.ndarray, "3 2"],
) -> Float[np.ndarray, "2 3"]:
    """The similarity from the object's aligned crop to that of another face.

    Args:
        item: to be laid.
        face: name of the other photograph.
        eyes_and_mouth: left eye, right eye and mouth of it, x and y in pixels.
    """
    target = np.array(HEADS[face]) if item.on_head else eyes_and_mouth
    return similarity_transform(np.array(item.anchors, np.float64), target)


def lay(
    picture: UInt8[np.ndarray, "1024 1024 3"],
    canvas: UInt8[np.ndarray, "1280 1280 3"],
    opacity: Float32[np.ndarray, "1280 1280"],
    matrix: Float[np.ndarray, "2 3"],
    shadowed: Bool[np.ndarray, "1024 1024"],
) -> tuple[UInt8[np.ndarray, "1024 1024 3"], Bool[np.ndarray, "1024 1024"]]:
    """Puts an object before a face.

    Args:
        picture: the face, aligned.
        canvas: the object's crop with `MARGIN` pixels around it.
        opacity: of the object there, as `alpha` gives it.
        matrix: from the object's crop to the picture.
        shadowed: where its shadow may fall; a background is too far away for one.

    Returns:
        The picture with the object, and where more than half of a pixel is the object's.
    """
    # Points count from the corner of a pixel, OpenCV's from its centre.
    turn = np.asarray(matrix, np.float64)
    moved = turn[:, :2] @ np.full(2, 0.5 - MARGIN) + turn[:, 2] - 0.5
    turn = np.column_stack([turn[:, :2], moved])
    surface = _warped(canvas, turn, cv2.INTER_CUBIC)
    share = _warped(opacity, turn)
    shade = _warped(share, np.array([[1, 0, 0], [0, 1, _SHADOW_SHIFT]]))
    shade = _SHADOW * cv2.GaussianBlur(shade, (0, 0), _SHADOW_BLUR)
    soft = cv2.GaussianBlur(shadowed.astype(np.float32), (0, 0), _SHADOW_BLUR / 2)
    face = picture * (1 - shade * soft)[..., None]
    mixed = face * (1 - share[..., None]) + surface * share[..., None]
    return np.rint(mixed).astype(np.uint8), share > 0.5


def _warped(picture: np.ndarray, matrix: np.ndarray, method: int = cv2.INTER_LINEAR) -> np.ndarray:
    edge = cv2.BORDER_REPLICATE
    return cv2.warpAffine(picture, matrix, (SIDE, SIDE), flags=method, borderMode=edge)


# fmt: off
CAP = RealObject(
    source="hopper",
    outlines=((
        (188, 425), (187, 380), (187, 330), (188, 280), (191, 240), (197, 215), (206, 194),
        (218, 181), (236, 170), (252, 158), (251, 148), (256, 128), (270, 105), (290, 82),
        (325, 55), (360, 34), (397, 21), (402, 0), (420, -13), (445, -22), (480, -28), (513, -29),
        (545, -26), (575, -17), (605, -3), (625, 12), (642, 35), (680, 43), (710, 57), (740, 77),
        (766, 100), (780, 120), (790, 140), (797, 160), (801, 184), (826, 185), (835, 194),
        (841, 210), (845, 235), (844, 270), (842, 300), (845, 325), (847, 345), (845, 365),
        (841, 385), (837, 410), (834, 435), (829, 458), (825, 470), (821, 450), (815, 425),
        (806, 402), (796, 382), (780, 365), (760, 350), (740, 336), (720, 324), (700, 315),
        (660, 305), (640, 304), (600, 306), (545, 312), (500, 305), (450, 300), (400, 298),
        (360, 299), (330, 306), (300, 319), (280, 332), (262, 336), (245, 338), (222, 358),
        (202, 380), (196, 398),
    ),),
    holes=(),
    softness=2.5,
    anchors=((190, 400), (838, 420)),
    on_head=True,
    without=("hopper", "ffhq00004"),
)
HAT = RealObject(
    source="ffhq00004",
    outlines=((
        (298, 725), (277, 708), (263, 692), (252, 665), (242, 642), (235, 619), (227, 596),
        (227, 569), (229, 550), (219, 531), (213, 500), (208, 465), (198, 435), (192, 408),
        (182, 385), (178, 362), (180, 334), (187, 320), (180, 306), (164, 297), (164, 283),
        (185, 265), (210, 234), (217, 207), (222, 186), (238, 174), (250, 160), (254, 144),
        (282, 102), (303, 88), (336, 56), (373, 23), (394, 0), (440, -60), (640, -60), (653, 0),
        (672, 8), (700, 38), (730, 62), (767, 92), (790, 111), (812, 137), (828, 167), (844, 200),
        (856, 222), (868, 240), (878, 272), (888, 300), (899, 330), (912, 348), (916, 365),
        (914, 385), (904, 400), (904, 430), (901, 465), (892, 480), (886, 505), (890, 530),
        (885, 560), (879, 592), (877, 605), (871, 639), (863, 655), (860, 672), (843, 683),
        (838, 694), (827, 720), (812, 727), (790, 722), (767, 722), (772, 700), (775, 672),
        (783, 667), (786, 633), (786, 605), (791, 578), (788, 561), (789, 522), (794, 489),
        (811, 461), (808, 440), (806, 415), (798, 395), (790, 372), (778, 345), (760, 310),
        (735, 285), (717, 275), (694, 252), (667, 224), (647, 213), (605, 205), (568, 193),
        (521, 186), (493, 186), (447, 195), (410, 202), (382, 212), (354, 230), (326, 258),
        (303, 286), (288, 315), (277, 350), (273, 400), (276, 462), (274, 490), (275, 520),
        (276, 560), (278, 600), (283, 620), (290, 650), (296, 690), (303, 722),
    ),),
    holes=(),
    softness=1.5,
    anchors=((225, 400), (840, 400)),
    on_head=True,
    without=("hopper", "ffhq00004", "ffhq00009"),
)
HAND = RealObject(
    source="ffhq00005",
    outlines=((
        (448, 745), (455, 730), (472, 708), (486, 688), (499, 678), (508, 673), (531, 669),
        (560, 665), (585, 661), (598, 657), (611, 661), (625, 676), (643, 701), (670, 735),
        (699, 744), (719, 753), (730, 766), (735, 786), (739, 813), (748, 840), (757, 867),
        (768, 894), (786, 957), (800, 997), (818, 1024), (818, 1152), (569, 1152), (569, 1024),
        (553, 1004), (544, 993), (531, 979), (517, 968), (499, 952), (477, 939), (463, 930),
        (441, 912), (428, 898), (410, 887), (394, 878), (378, 869), (372, 856), (376, 840),
        (392, 829), (405, 826), (441, 827), (445, 809), (445, 795), (448, 773), (459, 753),
    ),),
    holes=(),
    softness=1.5,
    anchors=((407, 481), (623, 473), (528, 725)),
    without=("ffhq00005",),
)
GLASSES = RealObject(
    source="ffhq00005",
    outlines=((
        (255, 452), (287, 451), (295, 452), (304, 443), (319, 435), (337, 430), (363, 426),
        (397, 425), (432, 426), (458, 428), (484, 431), (515, 432), (537, 430), (563, 425),
        (597, 418), (632, 415), (667, 414), (697, 415), (715, 418), (726, 423), (739, 432),
        (744, 432), (752, 434), (754, 445), (753, 458), (744, 462), (740, 469), (737, 495),
        (734, 517), (730, 530), (721, 537), (702, 545), (676, 551), (650, 555), (623, 556),
        (597, 554), (582, 550), (573, 545), (563, 527), (550, 501), (539, 484), (528, 471),
        (520, 468), (510, 472), (504, 480), (495, 499), (484, 523), (476, 540), (465, 551),
        (445, 559), (423, 563), (397, 565), (367, 564), (341, 561), (326, 557), (317, 549),
        (310, 534), (305, 512), (302, 495), (298, 488), (289, 483), (271, 479), (258, 474),
    ),),
    holes=((
        (319, 445), (330, 438), (345, 434), (371, 431), (406, 430), (441, 432), (471, 436),
        (484, 439), (491, 445), (492, 460), (488, 486), (482, 512), (473, 532), (463, 545),
        (445, 551), (415, 556), (393, 556), (367, 555), (341, 550), (326, 545), (318, 536),
        (313, 512), (310, 482), (312, 458),
    ), (
        (547, 443), (558, 437), (580, 431), (615, 424), (650, 420), (680, 420), (706, 422),
        (719, 427), (724, 438), (727, 460), (728, 490), (726, 512), (721, 523), (708, 532),
        (680, 540), (650, 546), (623, 547), (597, 546), (587, 543), (576, 532), (563, 508),
        (552, 477), (547, 460),
    )),
    softness=0.8,
    anchors=((407, 481), (623, 473), (528, 725)),
    without=("hopper", "ffhq00005", "ffhq00006", "ffhq00009"),
)
# fmt: on
# Where a hat ends left and right of a head, x and y in pixels of its aligned crop: over the hair,
# about as high as the brows. Set by hand, as no landmark tells how wide the hair is.
HEADS = {
    "ffhq00000": ((60.0, 400.0), (745.0, 400.0)),
    "ffhq00001": ((150.0, 400.0), (880.0, 400.0)),
    "ffhq00002": ((135.0, 400.0), (790.0, 400.0)),
    "ffhq00003": ((85.0, 420.0), (890.0, 400.0)),
    "ffhq00005": ((180.0, 400.0), (800.0, 400.0)),
    "ffhq00006": ((290.0, 370.0), (960.0, 450.0)),
    "ffhq00007": ((80.0, 420.0), (800.0, 360.0)),
    "ffhq00008": ((95.0, 420.0), (855.0, 400.0)),
    "ffhq00009": ((-30.0, 420.0), (720.0, 360.0)),
    "ffhq00010": ((80.0, 400.0), (900.0, 400.0)),
    "astronaut": ((100.0, 400.0), (930.0, 400.0)),
}
OBJECTS = {"cap": CAP, "hat": HAT, "hand": HAND, "glasses": GLASSES}
