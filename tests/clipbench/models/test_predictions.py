"""Predictions as a model: what follows from the predicted class, and an error with a name for whatever is wrong."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import binomtest, norm
from sklearn.metrics import balanced_accuracy_score, f1_score

import clipbench as cb
from clipbench.cli.main import main
from clipbench.models.adapters.predictions import load
from clipbench.models.options import LoadOptions

HEADER = ("id", "label", "prediction")
FEW = [("a.jpg", "cat", "dog"), ("b.jpg", "dog", "dog"), ("c.jpg", "cow", "cow"), ("d.jpg", "cat", "cat")]
"""Three of four right: recall 1/2, 1 and 1."""


def write(path: Path, rows: Sequence[Sequence[object]], header: Sequence[str] = HEADER) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
    return path


def measured(path: Path, **options: object) -> cb.Run:
    return cb.run(f"predictions:{path}", "zero-shot", out=path.with_suffix(""), **options)  # type: ignore[arg-type]


def drawn(n: int, shares: Sequence[float], n_classes: int = 20, seed: int = 0) -> list[list[tuple[str, str, str]]]:
    """Return the rows of several models about the same images, right in a fraction of them."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(n_classes, size=n)
    models = []
    for share in shares:
        wrong = (labels + rng.integers(1, n_classes, size=n)) % n_classes
        predicted = np.where(rng.random(n) < share, labels, wrong)
        models.append(
            [
                (f"{row}.jpg", f"class {a}", f"class {b}")
                for row, (a, b) in enumerate(zip(labels, predicted, strict=True))
            ]
        )
    return models


def test_few_predictions_score_as_worked_by_hand(tmp_path: Path) -> None:
    run = measured(write(tmp_path / "few.csv", FEW))
    metrics = run.result.evaluations[0].metrics

    assert metrics["acc1"].value == 0.75 and metrics["acc1"].chance == pytest.approx(1 / 3)
    assert metrics["mean_per_class_recall"].value == pytest.approx((1 / 2 + 1 + 1) / 3)
    assert metrics["macro_f1"].value == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)
    assert run.result.evaluations[0].baselines["majority_class"].value == 0.5
    assert {"margin", "tied", "target_cosine", "confidence"}.isdisjoint(run.samples("zero-shot").columns)


def test_many_predictions_score_as_scikit_learn_has_it(tmp_path: Path) -> None:
    (rows,) = drawn(500, [0.6], n_classes=7)
    metrics = measured(write(tmp_path / "many.csv", rows)).result.evaluations[0].metrics

    labels, predicted = [row[1] for row in rows], [row[2] for row in rows]
    assert metrics["acc1"].value == np.mean([a == b for a, b in zip(labels, predicted, strict=True)])
    assert metrics["mean_per_class_recall"].value == pytest.approx(balanced_accuracy_score(labels, predicted))
    assert metrics["macro_f1"].value == pytest.approx(f1_score(labels, predicted, average="macro"))


def test_what_needs_scores_is_undefined_with_the_reason(tmp_path: Path) -> None:
    metrics = measured(write(tmp_path / "few.csv", FEW)).result.evaluations[0].metrics
    assert metrics["acc5"].value is None and "five classes per image" in str(metrics["acc5"].reason)
    assert metrics["ece"].value is None and "confidences" in str(metrics["ece"].reason)


def test_confidences_give_the_calibration_error(tmp_path: Path) -> None:
    rows = [(*row, 0.75) for row in FEW]
    metrics = measured(write(tmp_path / "sure.csv", rows, (*HEADER, "confidence"))).result.evaluations[0].metrics
    assert metrics["ece"].value == 0.0  # all in one bin, three of four right


def test_parquet_and_integers_give_the_same_run(tmp_path: Path) -> None:
    numbers = {"cat": 0, "cow": 1, "dog": 2}
    rows = [(id, numbers[label], numbers[prediction]) for id, label, prediction in FEW]
    pq.write_table(
        pa.table(dict(zip(HEADER, map(list, zip(*rows, strict=True)), strict=True))), tmp_path / "few.parquet"
    )
    text, table = (
        load(str(write(tmp_path / "few.csv", rows)), LoadOptions()),
        load(str(tmp_path / "few.parquet"), LoadOptions()),
    )

    assert text.info.fingerprint == table.info.fingerprint and text.dataset.class_names == ("0", "1", "2")
    assert text.dataset.fingerprint(["x"] * 4) == table.dataset.fingerprint(["x"] * 4)


def test_a_subset_keeps_the_predictions_of_its_images(tmp_path: Path) -> None:
    (rows,) = drawn(300, [0.5], n_classes=3)
    samples = measured(write(tmp_path / "some.csv", rows), limit=60).samples("zero-shot")
    values = samples[["sample_id", "label", "predicted"]].to_numpy().tolist()
    assert len(values) == 60 and {tuple(row) for row in values} <= {*rows}


def test_a_file_of_classes_allows_predictions_that_no_label_has(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("cat\ncow\ndog\nhen\n")
    path = write(tmp_path / "few.csv", [*FEW, ("e.jpg", "cow", "hen")])
    run = measured(path, model_options={"classes": str(tmp_path / "classes.txt")})
    assert run.result.evaluations[0].metrics["acc1"].value == 0.6
    assert run.result.evaluations[0].metrics["acc1"].chance == 0.25


def test_vectors_are_refused_by_other_tasks(tmp_path: Path) -> None:
    path = write(tmp_path / "few.csv", FEW)
    evaluations = cb.run(f"predictions:{path}", "all", out=tmp_path / "all").result.evaluations
    assert [record.task for record in evaluations] == ["zero-shot"]
    with pytest.raises(cb.ClipbenchError, match="holds predicted classes, no vectors"):
        load(str(path), LoadOptions()).texts(["a cat"])


@pytest.mark.slow
def test_fifty_thousand_predictions_are_compared_as_by_hand_whatever_their_order(tmp_path: Path) -> None:
    base, candidate = drawn(50_000, [0.68, 0.69], n_classes=1000)
    tables = {"base": base, "candidate": candidate[::-1]}
    runs = [measured(write(tmp_path / f"{name}.csv", rows)) for name, rows in tables.items()]
    (difference,) = [difference for difference in cb.compare(*runs).differences if difference.name == "acc1"]

    gained, lost = (
        sum((a[1] == a[2], b[1] == b[2]) == changed for a, b in zip(base, candidate, strict=True))
        for changed in ((False, True), (True, False))
    )
    n, change = 50_000, (gained - lost) / 50_000
    margin = norm.ppf(0.975) * np.sqrt((gained + lost) / n - change**2) / np.sqrt(n)
    assert difference.value == pytest.approx(change)
    assert difference.flips is not None and (len(difference.flips.gained), len(difference.flips.lost)) == (gained, lost)
    assert difference.p_value == pytest.approx(binomtest(lost, gained + lost).pvalue, rel=1e-9)
    assert difference.low == pytest.approx(change - margin, abs=2e-5)
    assert difference.high == pytest.approx(change + margin, abs=2e-5)


WRONG: dict[str, tuple[Sequence[Sequence[object]], Sequence[str], str]] = {
    "unknown class": (
        [*FEW, ("e.jpg", "cow", "hen")],
        HEADER,
        "id 'e.jpg': unknown class in column 'prediction': got 'hen'",
    ),
    "an id twice": ([*FEW, FEW[0]], HEADER, "image id 'a.jpg' twice"),
    "no such column": (FEW, ("id", "label", "predicted"), "has no column 'prediction': got id, label, predicted"),
    "an empty cell": ([*FEW, ("e.jpg", "cow", "")], HEADER, "row 5: column 'prediction' is ''"),
    "one class": ([("a.jpg", "cat", "cat"), ("b.jpg", "cat", "cat")], HEADER, "needs at least 2 classes, got 1"),
    "no rows": ([], HEADER, "has no rows"),
    "a confidence above 1": (
        [(*row, 75) for row in FEW],
        (*HEADER, "confidence"),
        "row 1: confidence is '75', expected",
    ),
}


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_files_end_in_one_line(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, header, message = WRONG[kind]
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "wrong.csv", rows, header)

    with pytest.raises(SystemExit) as end:
        main(["run", "--model", "predictions:wrong.csv", "--tasks", "zero-shot", "--out", "wrong", "--quiet"])
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("clipbench: ")]
    assert end.value.code == 2 and len(lines) == 1 and message in lines[0]


def test_a_class_that_the_file_of_classes_has_twice_ends_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "few.csv", FEW)
    (tmp_path / "classes.txt").write_text("cat\ncow\ndog\ncow\n")
    with pytest.raises(SystemExit) as end:
        main(["run", "--model", "predictions:few.csv", "--model-option", "classes=classes.txt", "--tasks", "zero-shot",
              "--out", "out", "--quiet"])  # fmt: skip
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("clipbench: ")]
    assert end.value.code == 2 and len(lines) == 1 and not Path("out/result.json").exists()
    assert "classes.txt, line 4: got the class 'cow' again, after line 2: expected each class once" in lines[0]


@pytest.mark.parametrize("name", ["gone.csv", "gone.parquet", "text.parquet", "labels.txt"])
def test_files_that_cannot_be_read_end_in_one_line(name: str, tmp_path: Path) -> None:
    (tmp_path / "text.parquet").write_text("no parquet")
    (tmp_path / "labels.txt").write_text("cat\n")
    with pytest.raises(cb.ClipbenchError, match=f"cannot read .*{name}") as error:
        load(str(tmp_path / name), LoadOptions())
    assert "\n" not in str(error.value)
