from pathlib import Path

import pytest

from clipbench.training.log import Log, ProgressBar, read_log


def test_a_resumed_log_drops_events_after_its_checkpoint(tmp_path: Path) -> None:
    log = Log(tmp_path)
    for step in range(5):
        log.write("step", step, {"loss": 0.5})
    log.close()
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"event": "step", "st')  # a kill in the middle of a line
    assert [line["step"] for line in read_log(tmp_path / "log.jsonl")] == [0, 1, 2, 3, 4]
    resumed = Log(tmp_path, resumed_at=2)
    resumed.write("step", 3, {"loss": 0.25})
    resumed.close()
    assert [(line["step"], line["loss"]) for line in read_log(tmp_path / "log.jsonl")] == [
        (0, 0.5),
        (1, 0.5),
        (2, 0.5),
        (3, 0.25),
    ]


def test_numbers_that_json_cannot_hold_are_refused(tmp_path: Path) -> None:
    log = Log(tmp_path)
    with pytest.raises(ValueError, match="not JSON compliant"):
        log.write("step", 1, {"loss": float("nan")})
    log.close()


def test_a_log_without_a_folder_writes_nothing(tmp_path: Path) -> None:
    log = Log(None)
    log.write("step", 1, {})
    log.close()
    assert not list(tmp_path.iterdir())


def test_the_bar_shows_loss_temperature_gap_rate_and_time_left(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("COLUMNS", "LINES"):  # older versions of tqdm cut the bar of a file to them
        monkeypatch.delenv(name, raising=False)
    bar = ProgressBar(steps=10, done=0, is_shown=True)
    bar.set_gap(0.8125)
    bar.step(loss=3.25, temperature=0.07, pairs_per_second=1234.5)
    bar.close()
    shown = capfd.readouterr().err
    for part in ("1/10", "loss 3.250", "temperature 0.070", "gap 0.812", "1,234 pairs/s", "<"):
        assert part in shown
