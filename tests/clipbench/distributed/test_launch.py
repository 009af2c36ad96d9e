"""The launcher speaks where process 0 could not."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from torch.distributed.elastic.multiprocessing import SignalException

from clipbench.distributed import launch
from clipbench.distributed.process_rank import LAUNCHED, tell_launcher


@pytest.mark.parametrize("rank", ["0", "1", None], ids=["process 0 told", "another told", "nobody told"])
def test_an_interruption_is_said_by_process_0_or_by_the_launcher(
    rank: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def interrupted(*arguments: Any) -> Any:
        if rank is not None:
            monkeypatch.setenv("RANK", rank)
            tell_launcher()
        raise SignalException("ended", signal.Signals.SIGTERM)

    monkeypatch.setattr(launch, "elastic_launch", lambda config, program: interrupted)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(os, "environ", os.environ.copy())
    monkeypatch.delenv(LAUNCHED, raising=False)
    if rank == "0":
        assert launch.launch(["run"], 2, "") == launch.INTERRUPTED
    else:
        with pytest.raises(KeyboardInterrupt):
            launch.launch(["run"], 2, "")
