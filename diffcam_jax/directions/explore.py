"""Names for directions that were found without labels: those of the scores that they move most."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from diffcam_jax.directions import Direction
from diffcam_jax.directions.acts import acts
from diffcam_jax.directions.effects import effect, look
from diffcam_jax.directions.space import samples
from diffcam_jax.directions.validate import strip
from diffcam_jax.faces.scorers import SCORERS
from diffcam_jax.metrics.identity import Identity
from diffcam_jax.nn.network import Network

SEED, PSI = 6, 0.7
# Of a standard deviation over the samples: a component that moves every score by less has no name.
LEAST = 0.5


@dataclasses.dataclass(frozen=True)
class Proposal:
    """A component and what it does at strength 1.

    Attributes:
        direction: named by the score that it raises most, with the sign for which it rises; or as
            the component was called, when it moves none by `LEAST`.
        component: what the component was called.
        shifts: (score, mean change in standard deviations over the samples), largest first.
        identity: mean cosine of the persons before and after; NaN without faces.
    """

    direction: Direction
    component: str
    shifts: tuple[tuple[str, float], ...]
    identity: float


def explore(
    generator: Network, components: Mapping[str, Direction], count: int = 16
) -> list[Proposal]:
    """Proposes names for components, those that move a score most first.

    Args:
        generator: of faces; where no face is found, components keep their names and their order.
        components: by name, with strength 1 as a clear change.
        count: number of generated faces.
    """
    who = Identity()
    codes = samples(generator, SEED, count, PSI)
    before = look(generator, codes, list(SCORERS), who)
    spread = {name: _mean(np.abs(x - _mean(x)) ** 2) ** 0.5 for name, x in before.scores.items()}
    found = []
    for name, direction in components.items():
        seen = effect(generator, direction, codes, before, who)
        means = {s: _mean(x) for s, x in seen.scores.items() if spread[s] > 0}
        shifts = [(s, mean / spread[s]) for s, mean in means.items() if np.isfinite(mean)]
        shifts.sort(key=lambda pair: -abs(pair[1]))
        found.append(Proposal(direction, name, tuple(shifts), _mean(seen.identity)))
    found.sort(key=lambda proposal: -_most(proposal))
    taken: dict[str, int] = {}
    return [_named(proposal, taken) for proposal in found]


def _most(proposal: Proposal) -> float:
    return abs(proposal.shifts[0][1]) if proposal.shifts else 0.0


def _named(proposal: Proposal, taken: dict[str, int]) -> Proposal:
    """The component, called after its score and counted where several have the same."""
    if _most(proposal) < LEAST:
        return proposal
    score, shift = proposal.shifts[0]
    taken[score] = taken.get(score, 0) + 1
    name = score if taken[score] == 1 else f"{score}_{taken[score]}"
    where = acts(score)
    direction = dataclasses.replace(
        proposal.direction,
        name=name,
        score=score,
        array=(np.sign(shift) * proposal.direction.array).astype(np.float32),
        classes=where.classes if where else (),
        box=where.box if where else proposal.direction.box,
        method=f"{proposal.direction.method}, named by its effect on {score}",
    )
    shifts = tuple((s, float(np.sign(shift) * x)) for s, x in proposal.shifts)
    return dataclasses.replace(proposal, direction=direction, shifts=shifts)


def _mean(values: np.ndarray) -> float:
    finite = np.asarray(values)[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else float("nan")


def markdown_table(proposals: list[Proposal]) -> str:
    """A row per component; changes of scores in standard deviations over generated faces."""
    lines = ["| name | component | moves most | identity |", "|---|---|---|---|"]
    for proposal in proposals:
        moves = ", ".join(f"{score} {x:+.2f}" for score, x in proposal.shifts[:4]) or "no face"
        cells = [proposal.direction.name, proposal.component, moves, f"{proposal.identity:.2f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def sheet(generator: Network, proposals: list[Proposal], path: Path) -> None:
    """Pictures of strengths from -1 to 1 of every proposal, see `validate.strip`."""
    strip(generator, {p.direction.name: p.direction for p in proposals}, path, seed=SEED)
