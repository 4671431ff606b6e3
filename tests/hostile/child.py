"""The process in which readers read: it makes its inputs itself, and tells of them line by line.

Before an input is read it lies in the file `current`, so that one that ends the process is known.
"""

import contextlib
import functools
import json
import os
import random
import resource
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.hostile import confinement, structures
from tests.hostile.law import Outcome, judge, snapshot
from tests.hostile.mutations import changed, shrunk

_ROOMS = ("command", "data", "directions", "faces", "files", "formats", "inversion", "service")
_ROOMS += ("video",)
_INSTRUMENTED = [f"diffcam_jax.{room}" for room in _ROOMS]
_INSTRUMENTED += ["convert_weights", "diffcam_jax.pretrained.archives", "pickle", "zipfile"]
_KEPT = 3  # inputs for each fault
_FIRST = 5  # inputs until what makes them has the memory that it needs


class Session:
    """A reader at work.

    Args:
        name: of the reader.
        home: folder of this process, with `out`, in which alone may be written.
        watch: of this process.
    """

    def __init__(self, name: str, home: Path, watch: confinement.Watch) -> None:
        from tests.hostile.readers import READERS  # here, where atheris sees what is imported

        self.name, self.reader, self.home, self.watch = name, READERS[name], home, watch
        self.seeds = self.reader.seeds()
        self.number, self.skip = 0, 0  # of inputs: that were made, and that are not read again
        self.counts: dict[str, Any] = {"inputs": 0, "valid": 0, "refused": 0, "faults": 0}
        self.counts |= {"slowest": 0.0, "peak": 0}
        self._folder = home / "out" / "input"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._seen: dict[str, int] = {}
        for seed in self.seeds:
            self.reader.read(seed, self._folder)  # unwatched: loads what is loaded late
            outcome = judge(self.reader, seed, self._folder, watch)
            if not outcome.is_valid:
                raise SystemExit(f"{name}: a seed is not read: {outcome.fault}\n{outcome.told}")
        confinement.limit_memory()
        self._before = 0
        self._files = snapshot(home, home / "out")

    def outcome(self, data: bytes) -> Outcome:
        """What becomes of an input, which is not counted."""
        return judge(self.reader, data, self._folder, self.watch)

    def take(self, data: bytes) -> None:
        """Lets the reader read an input, and counts what became of it."""
        self.number += 1
        if self.number <= self.skip:
            return
        if self.counts["inputs"] == _FIRST:
            confinement.forget_peak()
            self._before = confinement.memory(of_peak=False)
        place = {"reader": self.name, "number": self.number, "counts": self.counts}
        head = json.dumps(place)
        (self.home / "out" / "current").write_bytes(head.encode() + b"\n" + data)
        outcome = self.outcome(data)
        counts = self.counts
        counts["inputs"] += 1
        counts["valid" if outcome.is_valid else "faults" if outcome.fault else "refused"] += 1
        counts["slowest"] = max(counts["slowest"], round(outcome.seconds, 3))
        if outcome.fault:
            self._keep(outcome, data)

    def _keep(self, outcome: Outcome, data: bytes) -> None:
        number = self._seen[outcome.fault] = self._seen.get(outcome.fault, 0) + 1
        if number <= _KEPT:
            tell("fault", reader=self.name, what=outcome.fault, data=data.hex(), told=outcome.told)

    def tell(self) -> None:
        """Tells the counts so far, and whether files have changed that may not."""
        peak = confinement.memory(of_peak=True) - self._before
        self.counts["peak"] = max(self.counts["peak"], peak >> 20)
        if snapshot(self.home, self.home / "out") != self._files:
            tell("fault", reader=self.name, what="files have changed", data="", told="")
            self.counts["faults"] += 1
        tell("counts", reader=self.name, counts=self.counts)


def tell(line: str, **facts: Any) -> None:
    """Writes a line for the process that has started this one."""
    os.write(1, (json.dumps({"line": line, **facts}) + "\n").encode())


def give_plain(session: Session, count: int, seed: int) -> None:
    """Gives inputs with bytes changed anywhere."""
    rng = random.Random(f"{seed}/{session.name}")
    for _ in range(count):
        session.take(changed(rng, rng.choice(session.seeds), session.seeds))


def give_structured(session: Session, count: int, seed: int) -> None:
    """Gives inputs with pieces changed, drawn by Hypothesis."""
    import hypothesis
    from hypothesis import strategies as st

    numbers = st.integers() | st.floats() | st.sampled_from((2**31, 2**63, -1, 1e308))
    leaves = st.none() | st.booleans() | numbers | st.text(max_size=8)
    values = st.recursive(leaves, lambda x: st.lists(x) | st.dictionaries(st.text(), x))
    texts = values.map(json.dumps).map(lambda text: text.encode("utf-8", "surrogatepass"))
    kind = session.reader.kind
    is_text = kind in ("text", "json", "npy")

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(
        st.randoms(use_true_random=False),
        st.sampled_from(session.seeds),
        st.lists(texts if is_text else st.binary(max_size=64), min_size=1, max_size=2),
    )
    def each(rng: random.Random, data: bytes, drawn: list[bytes]) -> None:
        session.take(structures.mutated(rng, data, kind, session.seeds, drawn))

    each()


def give_covering(session: Session, count: int, seed: int) -> None:
    """Gives inputs chosen by the code that they reach (atheris); ends the process."""
    import atheris

    corpus = session.home / "out" / "corpus"
    corpus.mkdir()
    for number, data in enumerate(session.seeds):
        (corpus / str(number)).write_bytes(data)

    def mutate(data: bytes, most: int, number: int) -> bytes:
        rng = random.Random(number)
        if session.reader.kind and rng.random() < 0.5:
            return structures.mutated(rng, data, session.reader.kind, session.seeds)[:most]
        if rng.random() < 0.5:
            return changed(rng, data, session.seeds)[:most]
        return atheris.Mutate(data, most)

    def one(data: bytes) -> None:
        session.take(data)
        if session.number == count:
            session.tell()
            os._exit(0)

    longest = max(map(len, session.seeds)) + 4096
    options = [f"-seed={seed + 1}", f"-max_len={longest}", "-timeout=0", "-rss_limit_mb=0"]
    options += ["-handle_segv=0", "-handle_abrt=0", "-handle_bus=0", "-handle_fpe=0"]
    atheris.Setup(["fuzz", *options, str(corpus)], one, custom_mutator=mutate)
    try:
        atheris.Fuzz()
    finally:  # it waits forever for itself after an exception
        traceback.print_exc()
        os._exit(1)


def run(tasks: Sequence[Sequence[Any]], home: Path, seed: int) -> None:
    """Does tasks.

    Args:
        tasks: reader, way of making inputs, how many of them, and how many to leave out first.
        home: folder of this process.
        seed: of all inputs.
    """
    watch = confinement.Watch(home / "out")
    for name, way, count, skipped in tasks:
        if way == "covering":
            import atheris

            with atheris.instrument_imports(include=_INSTRUMENTED):
                session = Session(name, home, watch)
        else:
            session = Session(name, home, watch)
        session.skip = skipped
        if way == "covering":
            give_covering(session, count, seed)
        elif way == "structured":
            give_structured(session, count, seed)
        else:
            give_plain(session, count, seed)
        session.tell()


def replay(cases: Sequence[tuple[str, str]], home: Path, smallest: bool) -> None:
    """Lets readers read inputs again, and tells what became of each.

    Args:
        cases: reader and input, in hexadecimal.
        home: folder of this process.
        smallest: whether an input is to be made smaller as long as it shows the same fault.
    """
    watch = confinement.Watch(home / "out")
    sessions: dict[str, Session] = {}
    for name, digits in cases:
        if name not in sessions:
            sessions[name] = Session(name, home, watch)
        session, data = sessions[name], bytes.fromhex(digits)
        outcome = first = session.outcome(data)
        if smallest and first.fault:
            data = shrunk(data, functools.partial(_has_fault, session, first.fault))
            outcome = session.outcome(data)
        tell("replayed", reader=name, fault=outcome.fault, told=outcome.told, data=data.hex())


def _has_fault(session: Session, fault: str, data: bytes) -> bool:
    return session.outcome(data).fault == fault


def main() -> None:
    """Does what is asked for on stdin, in a folder of its own."""
    asked = json.loads(sys.stdin.read())
    home = Path(asked["home"])
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    (home / "out").mkdir(exist_ok=True)
    places = {"HOME": home, "TMPDIR": home / "out", "DIFFCAM_HOME": home / "out"}
    places["HYPOTHESIS_STORAGE_DIRECTORY"] = home / "out"
    os.environ |= {name: str(place) for name, place in places.items()}
    os.chdir(home)
    with contextlib.suppress(BrokenPipeError):
        if "replay" in asked:
            replay(asked["replay"], home, asked["smallest"])
        else:
            run(asked["tasks"], home, asked["seed"])


if __name__ == "__main__":
    main()
