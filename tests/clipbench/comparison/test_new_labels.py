"""A difference by other labels: equal to plain numpy, untouched by the recorded labels, and an error for what is not."""

import csv
import json
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import scipy.stats
from PIL import Image

import clipbench as cb
from clipbench.cli.main import main
from clipbench.comparison.new_labels import relabelled_differences
from clipbench.errors import ClipbenchError
from clipbench.results.run import Run
from clipbench.untrusted.label_files import LabelFile, read_label_file

REAL = Path(__file__).parents[4] / "shared" / "data" / "published" / "imagenet_relabelled"
IDS = [f"{row:03}.jpg" for row in range(300)]
CLASSES = np.array([f"class {row:02}" for row in range(10)], object)
RNG = np.random.default_rng(3)
LABELS = RNG.integers(10, size=300)
PREDICTED = [np.where(RNG.random(300) < share, LABELS, RNG.integers(10, size=300)) for share in (0.6, 0.7)]


def written(path: Path, header: Sequence[str], *columns: Sequence[object]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *zip(*columns, strict=True)])
    return path


def measured(folder: Path, ids: Sequence[str], labels: np.ndarray, predicted: np.ndarray) -> Run:
    columns = (ids, labels.tolist(), predicted.tolist())
    file = written(folder.with_suffix(".csv"), ("id", "label", "prediction"), *columns)
    return cb.run(f"predictions:{file}", "zero-shot", out=folder)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    folder = tmp_path_factory.mktemp("runs")
    return [
        measured(folder / f"run{row}", IDS, CLASSES[LABELS], CLASSES[predicted])
        for row, predicted in enumerate(PREDICTED)
    ]


def status(command: list[str]) -> object:
    with pytest.raises(SystemExit) as end:
        main(command)
    return end.value.code


def label_file(folder: Path, labels: Mapping[str, str]) -> Path:
    return written(folder / "labels.csv", ("id", "label"), list(labels), list(labels.values()))


def test_the_recorded_labels_change_no_number(runs: list[Run], tmp_path: Path) -> None:
    file = label_file(tmp_path, dict(zip(IDS, CLASSES[LABELS], strict=True)))
    comparison = cb.compare(*runs, labels=file)
    plain = cb.compare(*runs)
    (part,) = comparison.relabelled
    (acc1,) = [metric for metric in plain.differences if metric.name == "acc1"]
    facts = ("value", "low", "high", "lower_bound", "upper_bound", "n", "p_value", "test", "method", "flips", "power")
    for recorded in (part.recorded, part.relabelled):
        assert [getattr(recorded, fact) for fact in facts] == [getattr(acc1, fact) for fact in facts]
        assert (recorded.base.value, recorded.candidate.value) == (acc1.base.value, acc1.candidate.value)
    assert comparison.differences == plain.differences
    assert not part.changed
    assert part.n_unlike == 0


def test_several_classes_count_as_plain_loops_find(runs: list[Run], tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    sets = [sorted(set(rng.integers(10, size=rng.integers(4)).tolist())) for _ in IDS]
    rows = [{"id": name, "label": [CLASSES[row] for row in rows]} for name, rows in zip(IDS, sets, strict=True)][:250]
    file = tmp_path / "labels.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (part,) = cb.compare(*runs, labels=file).relabelled
    labelled_rows = [row for row in range(250) if sets[row]]
    by_new = [float(np.mean([predicted[row] in sets[row] for row in labelled_rows])) for predicted in PREDICTED]
    by_recorded = [float(np.mean([predicted[row] == LABELS[row] for row in labelled_rows])) for predicted in PREDICTED]
    assert (part.n, part.n_missing, part.n_without) == (len(labelled_rows), 50, 250 - len(labelled_rows))
    assert part.n_several == sum(len(sets[row]) > 1 for row in labelled_rows)
    assert [part.relabelled.base.value, part.relabelled.candidate.value] == by_new
    assert [part.recorded.base.value, part.recorded.candidate.value] == by_recorded
    changed = [
        IDS[row]
        for row in labelled_rows
        if (PREDICTED[1][row] in sets[row]) - (PREDICTED[0][row] in sets[row])
        != int(PREDICTED[1][row] == LABELS[row]) - int(PREDICTED[0][row] == LABELS[row])
    ]
    assert [image.id for image in part.changed] == changed


def test_semicolons_separate_classes(tmp_path: Path) -> None:
    file = label_file(tmp_path, {"a": "cat;dog", "b": "", "c": "cat; cat"})
    assert read_label_file(file).classes == {"a": ("cat", "dog"), "b": (), "c": ("cat",)}


def test_an_image_whose_first_place_is_tied_keeps_its_credit_or_is_left_out(tmp_path: Path) -> None:
    images, texts = np.eye(4)[[0, 0, 2, 3]], np.eye(4)[[0, 0, 2, 3]]  # the first two classes are tied
    names = ["ant", "bee", "cat", "dog"]
    runs = []
    for name, vectors in (("one", texts), ("two", np.eye(4))):
        file = tmp_path / f"{name}.npz"
        np.savez(
            file, images=images, texts=vectors, labels=np.arange(4), class_texts=vectors, class_names=np.array(names)
        )
        runs.append(cb.run(f"embeddings:{file}", "zero-shot", out=tmp_path / name))
    table = runs[0].samples("zero-shot")
    ids, names = table["sample_id"].tolist(), table["label"].tolist()
    assert table["acc1"].tolist() == [0.5, 0.5, 1.0, 1.0]
    recorded = label_file(tmp_path, dict(zip(ids, names, strict=True)))
    (same,) = cb.compare(*runs, labels=recorded).relabelled
    assert same.relabelled.base.value == same.recorded.base.value
    assert same.n_tied == 0
    other = label_file(
        tmp_path, dict(zip(ids, [f"{names[0]};{names[2]}", names[1], f"{names[2]};{names[3]}", names[3]], strict=True))
    )
    (part,) = cb.compare(*runs, labels=other).relabelled
    assert (part.n, part.n_tied) == (3, 1)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("id,label\nother.jpg,class 01\n", "names none of the 300 images"),
        ("id,label\n000.jpg,horse\n", "unknown class 'horse'"),
        ("id,label\n000.jpg,class 01\n000.jpg,class 02\n", "has the id '000.jpg' twice"),
        ("", "no rows"),
        ("id,label\n", "no rows"),
        ("name,label\n000.jpg,class 01\n", "has no column 'id'"),
        ("id,label\n000.jpg,\n", "has a class for none of the 300 images"),
        ("id,label\n000.jpg,class 01;\n", "line 2: label is 'class 01;', expected a class, or several"),
    ],
)
def test_wrong_labels_are_an_error_of_one_line(
    runs: list[Run], tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, words: str
) -> None:
    file = tmp_path / "labels.csv"
    file.write_text(content)
    with pytest.raises(ClipbenchError, match=words):
        cb.compare(*runs, labels=file)
    assert status(["compare", *(str(run.folder) for run in runs), "--labels", str(file)]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_runs_of_another_task_or_without_samples_are_an_error(runs: list[Run], tmp_path: Path) -> None:
    file = label_file(tmp_path, {IDS[0]: "class 00"})
    other = cb.run(cb.vectors(images=np.eye(32), texts=np.eye(32)), "retrieval")
    with pytest.raises(ClipbenchError, match="labels are for zero-shot"):
        cb.compare(other, other, labels=file)
    folder = tmp_path / "bare"
    folder.mkdir()
    (folder / "result.json").write_bytes((runs[0].folder / "result.json").read_bytes())
    with pytest.raises(ClipbenchError, match="no samples in"):
        cb.compare(folder, runs[1], labels=file)


def test_every_format_has_both_differences(runs: list[Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = CLASSES[LABELS].tolist()
    labels[:60] = CLASSES[PREDICTED[0][:60]]
    file = label_file(tmp_path, dict(zip(IDS, labels, strict=True)))
    command = ["compare", *(str(run.folder) for run in runs), "--labels", str(file)]
    for options in ([], ["-v"], ["--format", "md"]):
        assert status([*command, *options]) == 0
        assert "By the new labels the difference is" in " ".join(capsys.readouterr().out.split())
    page = tmp_path / "page.html"
    assert status([*command, "--format", "html", "-o", str(page)]) == 0
    assert "By the new labels the difference is" in page.read_text()
    capsys.readouterr()
    assert status([*command, "--format", "json"]) == 0
    ((part,),) = [comparison["relabelled"] for comparison in json.loads(capsys.readouterr().out)["comparisons"]]
    assert part["sentence"].startswith("By the new labels")
    assert part["n_unlike"] > 0
    assert part["changed"]


class Answering:
    """A model that gives each image, known by its pixels, a class."""

    def __init__(self, answers: Mapping[bytes, int], names: Sequence[str]) -> None:
        self._answers, self._names = answers, names

    def encode_images(self, images: list[Image.Image]) -> np.ndarray:
        return np.eye(len(self._names))[[self._answers.get(image.convert("RGB").tobytes(), 0) for image in images]]

    def encode_texts(self, texts: list[str]) -> np.ndarray:
        rows = [next((row for row, name in enumerate(self._names) if name in text), 0) for text in texts]
        return np.eye(len(self._names))[rows]


def test_the_page_shows_the_images_that_change_the_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = ("cat", "dog", "owl")
    for row, name in enumerate(["cat", "dog", "owl", "cat"]):
        folder = tmp_path / "images" / name
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16), (60 * row, 90, 0)).save(folder / f"{row}.png")
    data = cb.load_data(str(tmp_path / "images"))
    pixels = [image.open().convert("RGB").tobytes() for image in data.images]
    ids = list(data.image_ids)
    assert ids == ["cat/0.png", "cat/3.png", "dog/1.png", "owl/2.png"]
    runs = [
        cb.run(Answering(dict(zip(pixels, answers, strict=True)), names), "zero-shot", data=data, out=tmp_path / out)
        for out, answers in (("a", [0, 0, 1, 2]), ("b", [1, 0, 2, 2]))
    ]
    file = label_file(tmp_path, dict(zip(ids, ["dog", "cat", "dog;owl", "cat"], strict=True)))
    comparison = cb.compare(*runs, labels=file)
    (part,) = comparison.relabelled
    assert [(image.id, image.by_recorded, image.by_new) for image in part.changed] == [
        ("cat/0.png", -1, 1),
        ("dog/1.png", -1, 0),
    ]
    assert status(["compare", "a", "b", "--labels", str(file), "--format", "html", "-o", "page.html"]) == 0
    page = (tmp_path / "page.html").read_text()
    gallery = page.split('data-gallery="Better for the candidate by the new labels"')[1].split("</ol>")[0]
    assert gallery.count('<img src="data:image/webp;base64,') == 2
    for text in ("cat, right by the recorded label", "dog, right by the new labels", "dog, right by both", "dog, owl"):
        assert text in gallery
    assert "Worse for the candidate by the new labels" not in page


def test_labels_have_no_effect_with_a_chain(
    runs: list[Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = label_file(tmp_path, {IDS[0]: "class 00"})
    command = ["compare", "--chain", *(str(run.folder) for run in runs), "--labels", str(file)]
    assert status(command) == 2
    assert "--labels has no effect with --chain" in capsys.readouterr().err


def test_runs_of_several_classes_are_compared_by_their_lists(tmp_path: Path) -> None:
    sets = [["class 00", "class 01"], ["class 02"], ["class 03", "class 04"], ["class 01"]]
    ids = [f"{row}.jpg" for row in range(4)]
    runs = []
    for name, predicted in (("a", ["class 00", "class 02", "class 02", "class 03"]), ("b", ["class 01"] * 4)):
        cells = [";".join(names) for names in sets]
        runs.append(measured(tmp_path / name, ids, np.array(cells, object), np.array(predicted, object)))
    file = label_file(tmp_path, {image: ";".join(reversed(names)) for image, names in zip(ids, sets, strict=True)})
    (same,) = cb.compare(*runs, labels=file).relabelled
    assert (same.n_unlike, same.changed) == (0, ())
    assert same.recorded.value == same.relabelled.value == 0.0
    file = label_file(tmp_path, {"0.jpg": "class 00", "1.jpg": "class 02", "2.jpg": "class 02", "3.jpg": "class 03"})
    (other,) = cb.compare(*runs, labels=file).relabelled
    assert other.relabelled.value == -1.0
    assert [image.recorded for image in other.changed] == [tuple(sets[0]), tuple(sets[2]), tuple(sets[3])]


class TwelveModels(NamedTuple):
    """Published predictions of twelve models on ImageNet-val, and both sets of labels."""

    runs: list[Run]
    labels: LabelFile
    is_kept: np.ndarray
    by_recorded: list[np.ndarray]
    by_new: list[np.ndarray]


def published_form(file: Path, numbers: Sequence[int], sets: Sequence[Sequence[int]]) -> Path:
    """Write the classes of images as the ReaL labels are published: a list in the order of the images' numbers."""
    by_number = dict(zip(numbers, sets, strict=True))
    file.write_text(json.dumps([by_number[number] for number in sorted(by_number)]))
    return file


def measured_models(folder: Path, n_models: int, step: int = 1) -> TwelveModels:
    if not REAL.is_dir():
        pytest.skip(f"published predictions of imagenet_relabelled are not at {REAL}")
    published = np.load(REAL / "top1_12.npz")
    all_sets = json.loads((REAL / "real.json").read_text())
    labels_file = published_form(folder / "real.json", published["number"].tolist(), all_sets)
    arrays, sets = {name: published[name][::step] for name in published.files}, all_sets[::step]
    classes = np.array(json.loads((REAL / "wnids.json").read_text()), object)
    ids, labels = [f"ILSVRC2012_val_{number:08}.JPEG" for number in arrays["number"]], arrays["label"]
    models = [name for name in arrays if name not in ("number", "label")][:n_models]
    return TwelveModels(
        runs=[
            measured(folder / f"m{row}", ids, classes[labels], classes[arrays[name]]) for row, name in enumerate(models)
        ],
        labels=read_label_file(labels_file),
        is_kept=np.array([bool(rows) for rows in sets]),
        by_recorded=[arrays[name] == labels for name in models],
        by_new=[
            np.array([row in rows for row, rows in zip(arrays[name].tolist(), sets, strict=True)]) for name in models
        ],
    )


def check_pair(models: TwelveModels, first: int, second: int) -> tuple[bool, bool, bool]:
    """Compare a pair with plain numpy, and return what is significant: by the recorded labels, the new ones, a turn."""
    (part,) = relabelled_differences(models.runs[first], models.runs[second], models.labels, 0.05)
    assert part.n == models.is_kept.sum()
    significant = []
    for difference, all_hits in ((part.recorded, models.by_recorded), (part.relabelled, models.by_new)):
        before, after = (all_hits[row][models.is_kept] for row in (first, second))
        assert difference.value == after.mean() - before.mean()
        gained, lost = int((~before & after).sum()), int((before & ~after).sum())
        assert difference.flips is not None
        assert (len(difference.flips.gained), len(difference.flips.lost)) == (gained, lost)
        exact = scipy.stats.binomtest(gained, gained + lost).pvalue
        assert difference.p_value is not None
        if min(abs(exact - 0.05), abs(difference.p_value - 0.05)) > 0.005:
            assert (difference.p_value < 0.05) == (exact < 0.05)
        significant.append(difference.p_value < 0.05)
    is_turned = all(significant) and part.recorded.value * part.relabelled.value < 0
    return significant[0], significant[1], is_turned


def test_pairs_of_published_models_equal_plain_numpy(tmp_path: Path) -> None:
    models = measured_models(tmp_path, 3, step=10)
    for first, second in combinations(range(3), 2):
        check_pair(models, first, second)


@pytest.mark.slow
def test_all_pairs_of_twelve_models_equal_plain_numpy(tmp_path: Path) -> None:
    models = measured_models(tmp_path, 12)
    outcomes = [check_pair(models, first, second) for first, second in combinations(range(12), 2)]
    assert len(outcomes) == 66
    assert sum(by_recorded for by_recorded, _, _ in outcomes) == 62
    assert sum(by_recorded and not by_new for by_recorded, by_new, _ in outcomes) == 4
    assert sum(is_turned for _, _, is_turned in outcomes) == 0
    assert sum(by_new and not by_recorded for by_recorded, by_new, _ in outcomes) == 3
