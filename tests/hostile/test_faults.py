"""A few failures of the system, each at a few places; `faults` has the long form."""

import errno
import json
import os
import resource

import pytest

from diffcam_jax.errors import UserError, exit_code, no_room
from diffcam_jax.files import cache_dir, model_folder
from diffcam_jax.programs.photographs import note_failure
from diffcam_jax.train.report import Report
from tests.hostile.faults import calls, fail, said
from tests.hostile.faults_together import together
from tests.hostile.kills import Bench, surroundings


@pytest.fixture(scope="module")
def benches(tmp_path_factory):
    with surroundings(tmp_path_factory.mktemp("s")) as folder:
        yield {name: Bench(name, folder) for name in ("fetch", "caches")}


@pytest.mark.parametrize(
    ("name", "kind"),
    [("fetch", "full"), ("fetch", "kill"), ("caches", "read-only"), ("caches", "broken")],
)
def test_a_failure_is_one_line_and_a_rerun_ends_well(benches, name, kind):
    listed = calls(benches[name])
    assert len(listed) > 20
    number, call = listed[len(listed) // 2]
    outcome = fail(benches[name], kind, number)
    assert outcome.wrong == "", call
    expected = {"full": {"one line"}, "kill": {"killed"}, "read-only": {"without cache"}}
    assert outcome.counted in expected.get(kind, {"without cache", "went on"})


def test_two_processes_fetch_into_one_cache(benches):
    assert together(benches["fetch"], 2) == (2, 0, [])


def test_a_model_folder_that_cannot_be_written_stays_as_it_was(tmp_path):
    with model_folder.writing_config(tmp_path, {"a": 1}):
        pass
    with pytest.raises(OSError), model_folder.writing_config(tmp_path, {"a": 2}):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    (only,) = tmp_path.iterdir()
    assert json.loads(only.read_text()) == {"a": 1}


def test_a_full_disk_ends_the_record_of_a_training_with_its_own_error(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.raises(OSError) as caught, Report(tmp_path, 0, 10) as report:
            report.scalars(1, {"loss": 1.0})
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
            report.scalars(2, {"loss": 0.5})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert no_room(caught.value)
    with Report(tmp_path, 1, 10):
        lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1]


def test_a_full_disk_ends_a_folder_of_photographs_and_a_bad_photograph_does_not(tmp_path):
    failed, photo = {}, tmp_path / "a.png"
    note_failure(failed, photo, UserError("no picture"), False)
    error = UserError("cannot be written")
    error.__cause__ = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(UserError, match="cannot be written"):
        note_failure(failed, photo, error, False)
    assert failed == {"a.png": "no picture"}


def test_a_failed_call_without_a_name_is_one_line(capsys):
    def run() -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    assert exit_code(run) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: No space left") and told.count("\n") == 1


def test_a_cache_that_is_not_kept_is_told_once(tmp_path, capsys):
    for what in ("codes", "codes", "tunings"):
        cache_dir.tell_unkept(what, tmp_path, "Read-only file system")
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" are ")[0] for line in lines] == ["note: codes", "note: tunings"]
    assert said("\n".join(lines)) == lines
