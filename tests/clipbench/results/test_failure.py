"""``failed.json``: a run that could not be made leaves its reason, and never touches a finished one."""

from pathlib import Path

import pytest

from clipbench.errors import ClipbenchError, NotMeasured
from clipbench.results.failure import failure_reason, write_failure
from clipbench.results.other_tools import open_results
from clipbench.results.run import read_run


def test_a_folder_says_why_its_model_could_not_be_measured(tmp_path: Path) -> None:
    folder = tmp_path / "new/candidate"
    assert failure_reason(folder) == ""
    write_failure(folder, model="me/mine", command=["clipbench", "run"], reason="no such model")
    assert failure_reason(folder) == "no such model"
    for read in (read_run, open_results):
        with pytest.raises(NotMeasured, match=r"candidate was not measured: no such model$"):
            read(folder)


@pytest.mark.parametrize("text", ["{", "[]", '{"reason": 3}', ""])
def test_a_damaged_failure_is_one_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "failed.json").write_text(text)
    with pytest.raises(ClipbenchError, match=r"failed\.json is (damaged|not JSON)") as error:
        failure_reason(tmp_path)
    assert "\n" not in str(error.value)
