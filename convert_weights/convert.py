"""From an official checkpoint's entries to our networks, strict in both directions."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from convert_weights.kinds import KINDS, Kind, Part, option
from convert_weights.layout import Layout
from convert_weights.state import State
from diffcam_jax.errors import UserError
from diffcam_jax.files import trees
from diffcam_jax.nn.latents import sample_w
from diffcam_jax.nn.network import Network

LATENT_SAMPLES = 10_000  # as encoder training estimates the mean code


class Found(NamedTuple):
    """A network in a file: its entries have the prefix `prefix`.

    `others` are prefixes of further copies of it. A `fault` is why a network that can be spared is
    left out; it has no layout then.
    """

    role: str
    prefix: str
    others: tuple[str, ...]
    entries: dict[str, np.ndarray]
    layout: Layout | None
    fault: str = ""


class _Absent(UserError):
    """The file lacks a network of the kind."""


@dataclass(frozen=True)
class Converted:
    """The result of a conversion.

    Attributes:
        networks: by role.
        arrays: that belong to no network, by name.
        official: for the export: role -> {"prefix", "entries": official key -> [shape, dtype]};
            "arrays" -> name -> official name.
        unused: entries that no network needs, nested as in the file.
        summary: one line per network, for people.
        remarks: on widened half precision, ignored entries, and the origin of the mean code.
    """

    networks: dict[str, Network]
    arrays: dict[str, np.ndarray]
    official: dict[str, Any]
    unused: dict[str, Any]
    summary: list[str]
    remarks: list[str]


def find_parts(state: State, kind: Kind) -> list[Found]:
    """The parts of a kind that a file holds, each with its entries and layout.

    Raises:
        UserError: a part is missing, or its layout cannot be inferred from its shapes.
    """
    places, missing = [], []
    for part in kind.parts:
        probe = re.compile(rf"((?:.*[./])?)(?:{'|'.join(map(re.escape, part.probe.split('|')))})")
        prefixes = sorted(
            {match[1] for name in state.arrays if (match := probe.fullmatch(name))}, key=len
        )
        if prefixes:
            ranks = {
                p: next((i for i, q in enumerate(part.preferred) if p.endswith(q)), 99)
                for p in prefixes
            }
            best = min(prefixes, key=ranks.__getitem__)
            places.append((part, best, tuple(p for p in prefixes if p != best)))
        elif not part.optional:
            missing.append(f"no {part.role} (a key ending in {part.probe.split('|')[0]})")
    if missing or not places:
        raise _Absent(f"it holds {', '.join(missing) or 'none of the networks of this kind'}")
    found = []
    for part, prefix, others in places:
        inner = tuple(p for _, p, _ in places if p != prefix and p.startswith(prefix))
        entries = {
            name[len(prefix) :]: array
            for name, array in state.arrays.items()
            if name.startswith(prefix)
            and not (inner and name.startswith(inner))
            and name not in kind.latent_avg
            and not _reason(kind.ignored, name)
        }
        found.append(_fitted(part, prefix, others, entries, state.notes))
    return found


def _fitted(
    part: Part,
    prefix: str,
    others: tuple[str, ...],
    entries: dict[str, np.ndarray],
    notes: Mapping[str, Any],
) -> Found:
    """A part with its layout; one that can be spared may have a fault instead.

    Raises:
        UserError: the layout cannot be inferred, and the part cannot be spared.
    """
    shapes = {key: array.shape for key, array in entries.items()}
    if not prefix.startswith(part.spare or ("\0",)):
        return Found(part.role, prefix, others, entries, part.layout(shapes, notes))
    try:
        layout = part.layout(shapes, notes)
        faults = layout.faults(shapes)
    except UserError as error:
        layout, faults = None, [str(error)]
    fault = faults[0] if faults else ""
    return Found(part.role, prefix, others, entries, None if fault else layout, fault)


def _reason(rules: Mapping[str, str], name: str) -> str | None:
    return next((why for pattern, why in rules.items() if re.fullmatch(pattern, name)), None)


def convert(state: State, name: str, force: bool = False) -> Converted:
    """Converts a checkpoint of a known kind.

    Args:
        state: from `read_state`.
        name: a key of `KINDS`.
        force: convert numbers that are not finite as well.

    Raises:
        UserError: it is not such a checkpoint, an entry is missing, left over, or of another shape
            (all are named), or numbers are not finite.
    """
    kind = KINDS[name]
    try:
        parts = find_parts(state, kind)
        faults = _faults(state, kind, parts)
    except UserError as error:
        raise UserError(f"{state.path} is not a {name} checkpoint: {error}") from error
    if faults:
        shown = "; ".join(faults[:12]) + (
            f"; and {len(faults) - 12} more" if len(faults) > 12 else ""
        )
        raise UserError(
            f"{state.path} does not fit {name}, nothing was written: {shown}; get the original file"
        )

    networks, official, unused, summary = {}, {}, {}, []
    remarks = [
        remark
        for part in parts
        if part.layout
        for remark in _not_finite(state, part.role, part.entries, force)
    ]
    for role, prefix, others, entries, layout, fault in tqdm(
        parts, desc="converting", unit="network", leave=False
    ):
        if layout is None:
            remarks.append(f"{role}: left out, as it is of another architecture ({fault})")
            continue
        try:
            networks[role] = Network(layout.module, layout.convert(entries))
        except UserError as error:
            raise UserError(f"{state.path}: {error}; nothing was written") from error
        official[role] = {
            "prefix": prefix,
            "entries": {
                key: [list(array.shape), array.dtype.name] for key, array in entries.items()
            },
        }
        for key, array in entries.items():
            if layout.reason(key) or not _exact_in_float32(array):
                unused[prefix + key] = array
        summary.append(f"{role}: {type(layout.module).__name__}, {layout.summary}")
        if others:
            remarks.append(
                f"{role}: {prefix or 'the bare one'} is used, not its copies under "
                f"{', '.join(others)}"
            )
        remarks += _remarks(role, entries, layout)
    unknown = [n for n in state.arrays if n.startswith(_spare(kind, parts))]
    if unknown:
        remarks.append(
            f"{len(unknown)} entries left out, a network of another architecture (first: "
            f"{unknown[0]})"
        )
    arrays = _latent_avg(state, kind, networks, official, remarks)
    remarks += _not_finite(state, "the mean code", arrays, force)
    return Converted(networks, arrays, official, trees.unflatten(unused), summary, remarks)


def _faults(state: State, kind: Kind, parts: list[Found]) -> list[str]:
    """Entries that are missing, left over or of another shape, over the whole file."""
    faults: list[str] = []
    taken: set[str] = set()
    for role, prefix, others, entries, layout, _ in parts:
        if layout is not None:
            faults += [
                f"{role}: {fault}"
                for fault in layout.faults({key: a.shape for key, a in entries.items()})
            ]
        taken.update(prefix + key for key in entries)
        taken.update(
            name
            for name in state.arrays
            if name.startswith(tuple(p for p in others if p) or ("\0",))
        )
    spare = _spare(kind, parts)
    for name in state.arrays:
        known = (
            name in taken
            or name.endswith(kind.latent_avg or ("\0",))
            or name.startswith(spare)
            or _reason(kind.ignored, name)
        )
        if not known:
            faults.append(f"{name} is left over")
    return faults


def _spare(kind: Kind, parts: list[Found]) -> tuple[str, ...]:
    """Beginnings of names of networks that were not recognised, and can be spared."""
    found = {part.role for part in parts}
    names = [part.spare for part in kind.parts if part.role not in found]
    return tuple(name for spare in names for name in spare) or ("\0",)


def _not_finite(
    state: State, role: str, entries: Mapping[str, np.ndarray], force: bool
) -> list[str]:
    """Remarks on numbers that are NaN or infinite.

    Raises:
        UserError: there are some, and they are not wanted.
    """
    bad = [
        key
        for key, array in entries.items()
        if array.dtype.kind not in "biu" and not np.isfinite(array.astype(np.float32)).all()
    ]
    if not bad:
        return []
    told = f"{role}: {len(bad)} of {len(entries)} entries hold NaN or infinity (first: {bad[0]})"
    if not force:
        raise UserError(
            f"{state.path}: {told}, as after a training that diverged; nothing was written; take "
            "an earlier checkpoint, or add --force"
        )
    return [told]


def _exact_in_float32(array: np.ndarray) -> bool:
    return array.dtype != np.float64 or bool((array.astype(np.float32) == array).all())


def _remarks(role: str, entries: Mapping[str, np.ndarray], layout: Layout) -> list[str]:
    half = sum(array.dtype.name in ("float16", "bfloat16") for array in entries.values())
    remarks = [f"{role}: {half} entries in half precision, widened to float32"] if half else []
    reasons: dict[str, int] = {}
    for key in entries:
        if (why := layout.reason(key)) is not None:
            reasons[why] = reasons.get(why, 0) + 1
    return remarks + [
        f"{role}: {count} entries not converted ({why})" for why, count in reasons.items()
    ]


def _latent_avg(
    state: State, kind: Kind, networks: Mapping[str, Network], official: dict, remarks: list[str]
) -> dict[str, np.ndarray]:
    """The mean code of the file, or the mean of mapped draws of z if it has none."""
    names = [name for name in state.arrays if kind.latent_avg and name.endswith(kind.latent_avg)]
    if names:
        # If there are several copies of the network, use the mean code of the chosen one.
        prefix = official.get("generator", {}).get("prefix", "")
        group = prefix[: prefix.rfind("/") + 1]
        name = min(names, key=lambda name: not name.startswith(group))
        array = state.arrays[name]
        official["latent_avg"] = {
            "name": name,
            "dtype": array.dtype.name,
            "shape": list(array.shape),
        }
        return {"latent_avg": np.squeeze(np.asarray(array, np.float32))}
    generator = networks.get("generator")
    if generator is None:
        return {}
    classes = getattr(generator.module, "num_classes", 0)
    every = jax.nn.one_hot(np.arange(LATENT_SAMPLES) % classes, classes) if classes else None
    mean = jax.jit(
        lambda v: sample_w(generator.module, v, jax.random.key(0), LATENT_SAMPLES, every).mean(0)
    )
    remarks.append(f"latent_avg: not in the file, computed from {LATENT_SAMPLES} draws of z")
    return {"latent_avg": np.asarray(mean(generator.variables), np.float32)}


def recognise(state: State) -> str:
    """The kind of a checkpoint, from its keys and, where keys are shared, its training options.

    Raises:
        UserError: no kind fits, or several do.
    """
    fitting, near, refused = [], [], []
    for name, kind in KINDS.items():
        try:
            parts = find_parts(state, kind)
        except _Absent:
            continue
        except UserError as error:
            refused.append((name, [str(error)]))
            continue
        faults = _faults(state, kind, parts)
        (near if faults else fitting).append((name, faults))
    if not fitting and (near or refused):
        name, faults = min(near or refused, key=lambda item: len(item[1]))
        advice = "; get the original file" if near else ""
        raise UserError(
            f"{state.path} is most similar to {name}, but: {'; '.join(faults[:8])}{advice}"
        )
    if not fitting:
        raise UserError(
            f"{state.path} is not one of the known kinds: {', '.join(KINDS)}; it begins with "
            f"{_sample(state)}"
        )
    names = [name for name, _ in fitting]
    if {"psp", "e4e"} <= set(names):
        trained = {"GradualStyleEncoder": "psp", "Encoder4Editing": "e4e"}.get(
            option(state.notes, "encoder_type")
        )
        if trained is None:
            raise UserError(
                f"{state.path}: the encoders of psp and e4e have the same keys and its options "
                "do not say which it is; name the kind instead of auto"
            )
        return trained
    return names[0]


def _sample(state: State) -> str:
    return ", ".join(list(state.arrays)[:3])
