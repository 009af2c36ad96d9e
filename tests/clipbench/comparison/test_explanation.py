"""An explanation of two runs: the groups, the claims, and what must not change them."""

import tracemalloc
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest

from clipbench.comparison.column_file import read_columns
from clipbench.comparison.explanation import ExplainOptions, explain
from clipbench.comparison.explanation_groups import FINE_TAILS, InputColumn, _column_groups, make_groups
from clipbench.comparison.phrase_groups import InputEmbeddings
from clipbench.errors import NotComparable, Unavailable, UsageError
from clipbench.results.record import DatasetRecord, Metric
from clipbench.results.run import Run, read_run, write_result
from clipbench.results.sample_inputs import InputKind
from tests.made import record_of, result_of

N = 600
CAMERA = np.array(["phone" if row % 10 == 1 else "camera" for row in range(N)], object)
CAPTIONS = np.array(
    [f"a {('red', 'yellow', 'blue')[row % 3]} bird {'in the sea' * (row % 2)}" for row in range(N)], object
)
IMAGES = np.array([f"{row:032x}" for row in range(N)], object)
Write = Callable[..., Run]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return a function that writes a run in which these samples are right."""

    def write(
        name: str,
        right: np.ndarray,
        *,
        order: Sequence[int] | None = None,
        is_lower_better: bool = False,
        **columns: Any,
    ) -> Run:
        folder = tmp_path / name
        (folder / "samples").mkdir(parents=True)
        ids = [f"image_retrieval:text:{row:03}" for row in range(len(right))]
        table = pandas.DataFrame({"sample_id": ids, "recall": right.astype(float), **columns})
        table = table if order is None else table.iloc[list(order)]
        table.to_parquet(folder / "samples/retrieval@birds.parquet", index=False)
        metric = Metric(
            value=float(right.mean()),
            n=len(right),
            column="recall",
            higher_is_better=not is_lower_better,
            is_headline=True,
        )
        data = DatasetRecord(id="birds", n_samples=len(right), fingerprint="f00d")
        record = record_of(
            "retrieval",
            dataset=data,
            metrics={"recall": metric},
            files={"samples": "samples/retrieval@birds.parquet"},
            encoded={"images": len(right)},
        )
        write_result(result_of(record, model={"ref": name}), folder)
        return read_run(folder)

    return write


def hits() -> np.ndarray:
    return np.arange(N) % 5 > 0


def lost_where(is_lost: np.ndarray) -> np.ndarray:
    """Return the hits of a candidate that lost half of some samples, and elsewhere as much as it gained."""
    return np.where(is_lost & (np.arange(N) % 4 < 2), False, hits()) ^ (np.arange(N) % 97 == 1)


def test_a_recorded_column_is_named_with_its_numbers(write: Write) -> None:
    columns = {"group:camera": CAMERA}
    base, candidate = write("base", hits(), **columns), write("new", lost_where(CAMERA == "phone"), **columns)

    explanation = explain(base, candidate)

    (claim,) = explanation.claims
    rows = CAMERA == "phone"
    assert (claim.slice, claim.claim, claim.source, claim.n) == (
        "camera = phone",
        "worse than elsewhere",
        "columns",
        60,
    )
    assert claim.base == hits()[rows].mean()
    assert claim.low < claim.difference < claim.high < 0
    assert claim.difference == pytest.approx(claim.candidate - claim.base)
    assert claim.p == claim.p_elsewhere <= 0.05
    assert claim.samples[0].startswith("image_retrieval:text:")
    assert explanation.frame().query("claim != ''")["slice"].tolist() == ["camera = phone"]


def test_a_group_that_lost_less_than_elsewhere_is_only_worse(write: Write) -> None:
    columns = {"group:camera": np.where(np.arange(N) % 3 == 0, "phone", "camera").astype(object)}
    is_lost = np.where(np.arange(N) % 3 == 0, np.arange(N) % 2 == 0, np.arange(N) % 11 == 0)

    explanation = explain(write("base", hits(), **columns), write("new", hits() & ~is_lost, **columns))

    claims = {claim.slice: claim for claim in explanation.claims}
    assert claims["camera = phone"].claim == "worse than elsewhere"
    assert explanation.verdict == "worse than elsewhere: camera = phone"
    lesser = claims["camera = camera"]
    assert (lesser.claim, lesser.p, lesser.share_of_loss) == ("worse", lesser.p_here, None)
    share = claims["camera = phone"].share_of_loss
    assert share is not None and 0.5 < share < 0.9
    assert explanation.spread_evenly == pytest.approx(1 - share)


def test_a_rise_of_what_should_be_low_is_worse(write: Write) -> None:
    columns = {"group:camera": CAMERA, "is_lower_better": True}
    base, candidate = write("base", ~hits(), **columns), write("new", ~lost_where(CAMERA == "phone"), **columns)

    (claim,) = explain(base, candidate).claims

    assert (claim.slice, claim.claim) == ("camera = phone", "worse than elsewhere")
    assert 0 < claim.low < claim.difference < claim.high
    assert claim.share_of_loss == pytest.approx(1.0, abs=0.2)


def test_a_word_a_number_and_a_measured_input_are_named(write: Write, tmp_path: Path) -> None:
    brightness = {digest: {"brightness": ((row * 7) % N) / N} for row, digest in enumerate(IMAGES)}
    is_dark = np.array([measures["brightness"] for measures in brightness.values()]) < 0.1
    age = (np.arange(N) * 11) % 100
    (tmp_path / "age.csv").write_text("id,age\n" + "".join(f"{row:03},{age[row]}\n" for row in range(N)))

    for index, (is_lost, expected) in enumerate(
        [
            (CAPTIONS[1] == CAPTIONS, 'caption has "yellow"'),
            (is_dark, "brightness at most 0.1"),
            (age >= 90, "age at least 90"),
        ]
    ):
        runs = [
            write(f"{side}-{index}", right, caption=CAPTIONS, image=IMAGES)
            for side, right in (("base", hits()), ("new", lost_where(is_lost)))
        ]
        options = ExplainOptions(columns=tmp_path / "age.csv", image_inputs=lambda digests: brightness)
        claims = explain(runs[0], runs[1], options).losses
        assert any(claim.slice.startswith(expected[:-1]) for claim in claims), (expected, claims)


def test_the_order_of_samples_changes_nothing(write: Write) -> None:
    columns = {"group:camera": CAMERA, "caption": CAPTIONS, "cluster": np.arange(N) // 2}
    columns["cluster"] = np.array([f"image {row // 2}" for row in range(N)], object)
    order = np.random.default_rng(0).permutation(N)
    right = lost_where(CAMERA == "phone")
    one = explain(write("base", hits(), **columns), write("new", right, **columns))
    other = explain(write("base2", hits(), order=order, **columns), write("new2", right, order=order[::-1], **columns))

    assert one.as_json() == other.as_json().replace("base2", "base").replace("new2", "new")


def test_groups_are_made_without_outcomes(write: Write) -> None:
    columns = {"group:camera": CAMERA, "caption": CAPTIONS}
    base = write("base", hits(), **columns)
    hashes = {
        explain(base, write(f"new{index}", right, predicted=right.astype(str).astype(object), **columns)).groups_hash
        for index, right in enumerate((hits(), lost_where(CAMERA == "phone"), np.zeros(N, bool)))
    }

    assert len(hashes) == 1


def test_a_loss_everywhere_is_spread_evenly(write: Write) -> None:
    columns = {"group:camera": CAMERA, "caption": CAPTIONS}
    candidate = hits() & (np.random.default_rng(0).random(N) < 0.8)

    explanation = explain(write("base", hits(), **columns), write("new", candidate, **columns))

    assert explanation.uneven.p > 0.05
    assert explanation.spread_evenly == 1.0
    assert all(claim.claim == "worse" and claim.share_of_loss is None for claim in explanation.claims)


def test_of_groups_with_nearly_the_same_samples_the_simplest_stays() -> None:
    half = np.where(np.arange(200) < 100, "a", "b").astype(object)
    nearly = half.copy()
    nearly[0] = "b"
    columns = [InputColumn("y", "classes", nearly), InputColumn("x", "columns", half)]

    groups = make_groups(columns, None, {}).groups

    assert [group.name for group in groups] == ["x = a", "x = b"]


def test_similar_groups_are_found_in_little_memory() -> None:
    rng = np.random.default_rng(0)
    columns = [InputColumn(f"code {k}", "columns", rng.integers(5, size=20_000).astype(str)) for k in range(60)]
    twin = np.where(np.arange(20_000) % 50 == 0, "0", columns[0].values)
    columns.append(InputColumn("twin", "classes", twin))

    tracemalloc.start()
    groups = make_groups(columns, None, {}).groups
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    names = [group.name for group in groups if group.source != "column pairs"]
    assert names == [f"code {k} = {value}" for k in range(60) for value in range(5)]
    assert peak < 4 * len(groups) * 20_000  # numbers of all samples of all groups would take another four bytes each


def test_alike_groups_are_those_of_their_jaccard_similarity() -> None:
    rng = np.random.default_rng(1)
    number = rng.normal(size=400)
    columns = [
        InputColumn(f"x{k}", "image inputs", number + noise * rng.normal(size=400))
        for k, noise in enumerate((0, 0.01, 0.05, 1))
    ]

    kept = [group.is_member for group in make_groups(columns, None, {}).groups]
    tried = [group.is_member for column in columns for group in _column_groups(column, 20, FINE_TAILS)]

    def similarity(one: np.ndarray, other: np.ndarray) -> float:
        return float((one & other).sum() / (one | other).sum())

    expected: list[np.ndarray] = []
    for members in tried:
        if members.sum() >= 20 and all(similarity(members, other) <= 0.9 for other in expected):
            expected.append(members)
    assert np.array_equal(kept, expected)


def test_a_column_of_a_text_per_sample_makes_no_group_of_each() -> None:
    texts = np.array([f"name {row}" if row % 2 else "no name" for row in range(20_000)], object)

    tracemalloc.start()
    (group,) = make_groups([InputColumn("name", "columns", texts)], None, {}).groups
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert group.name == "name = no name"
    assert peak < 20_000 * 500  # a mask of each text would take 200 MB


def test_a_number_that_few_samples_have_makes_no_group_and_no_pair() -> None:
    rare = np.full(200, np.nan)
    rare[:5] = np.arange(5.0)
    cameras = np.array(["phone", "film"] * 100, object)
    columns = [InputColumn("speed", "columns", rare), InputColumn("camera", "columns", cameras)]
    groups = make_groups(columns, None, {}).groups
    assert [group.name for group in groups] == ["camera = film", "camera = phone"]


def test_a_file_of_many_numbers_takes_little_more_memory_than_its_text(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    ids = [f"{row:05}" for row in range(5_000)]
    numbers = pandas.DataFrame({f"x{k}": rng.normal(size=5_000).round(5) for k in range(60)})
    path = tmp_path / "numbers.csv"
    numbers.set_index(pandas.Index(ids, name="id")).to_csv(path)

    tracemalloc.start()
    columns = read_columns(path, ids, None)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert np.array_equal(np.array([column.values for column in columns]), numbers.to_numpy().T)
    assert peak < 6 * path.stat().st_size  # a text of each cell would take nine times the file


def test_cells_with_line_breaks_and_quotes_stay_whole(tmp_path: Path) -> None:
    (tmp_path / "file.csv").write_text('id,text,code\r\n0,"a\n""b"", c",x\r\n1,plain,\r\n2,plain,y', newline="")

    text, code = read_columns(tmp_path / "file.csv", ["0", "1", "2"], None)

    assert text.values.tolist() == ['a\n"b", c', "plain", "plain"]
    assert code.values.tolist() == ["x", "", "y"]


def test_a_file_with_nul_characters_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file.csv").write_text("id,letter\n0,a\0b\n")

    with pytest.raises(UsageError, match=r"file\.csv is not CSV: it has a NUL character"):
        read_columns(tmp_path / "file.csv", ["0"], None)


@pytest.mark.parametrize("share", [0.06, 0.13, 0.33])
def test_the_cut_of_a_measured_input_is_near_the_true_one(write: Write, share: float) -> None:
    """Samples are in the order of brightness, which is the square root of their rank: few are dark."""
    brightness = np.sqrt(np.arange(3_000) / 3_000)
    images = np.array([f"{row:032x}" for row in range(3_000)], object)
    measures = {image: {"brightness": value} for image, value in zip(images, brightness, strict=True)}
    rng = np.random.default_rng(0)
    right = rng.random(3_000) < 0.9
    is_lost = (brightness < np.sqrt(share)) & (rng.random(3_000) < 0.4)
    base, candidate = write("base", right, image=images), write("new", right & ~is_lost, image=images)

    (claim,) = explain(base, candidate, ExplainOptions(image_inputs=lambda digests: measures)).losses

    name, _, cut = claim.slice.rpartition(" ")
    assert name == "brightness at most"
    assert float(cut) == pytest.approx(np.sqrt(share), abs=0.03)


def test_numbers_of_the_data_are_cut_finely_up_to_twenty() -> None:
    numbers = np.random.default_rng(0).normal(size=(30, 500))
    columns = [InputColumn(f"x{k}", "columns", values) for k, values in enumerate(numbers)]

    counts = Counter(
        group.name.split()[0] for group in make_groups(columns, None, {}).groups if " and " not in group.name
    )

    assert min(counts[f"x{k}"] for k in range(20)) > 15
    assert max(counts[f"x{k}"] for k in range(20, 30)) <= 6


def test_a_group_with_most_of_a_lost_class_is_not_worse_than_elsewhere(write: Write) -> None:
    rng = np.random.default_rng(0)
    is_sandal = np.arange(3_000) % 10 == 0
    blur = np.where(is_sandal | (rng.random(3_000) < 0.5), "blurred", "sharp").astype(object)
    label = np.array(["sandal" if row % 10 == 0 else f"class {row % 10}" for row in range(3_000)], object)
    right = rng.random(3_000) < 0.9
    is_lost = (is_sandal & (rng.random(3_000) < 0.9)) | (rng.random(3_000) < 0.04)
    columns = {"label": label, "group:blur": blur}

    explanation = explain(write("base", right, **columns), write("new", right & ~is_lost, **columns))

    first, *other_claims = explanation.claims
    assert (first.slice, first.claim) == ("class = sandal", "worse than elsewhere")
    blurred = next(claim for claim in other_claims if claim.slice == "blur = blurred")
    assert blurred.p_elsewhere <= 0.05
    assert (blurred.claim, blurred.share_of_loss) == ("worse", None)
    assert blurred.difference < 2 * blurred.net_difference < 0
    assert explanation.verdict == "worse than elsewhere: class = sandal"


def test_rows_keep_their_order_and_a_kind_may_have_two_headings(write: Write) -> None:
    columns = {"group:camera": CAMERA}
    explanation = explain(write("base", hits(), **columns), write("new", lost_where(CAMERA == "phone"), **columns))
    (claim,) = explanation.claims
    gain = replace(claim, slice="b", claim="better than elsewhere")
    rows = replace(explanation, claims=[claim, gain, replace(claim, slice="c", net_n=10)]).claim_table().rows

    headings = [row for row in rows if isinstance(row, str)]
    assert headings == ["Worse than elsewhere", "Better than elsewhere", "Worse than elsewhere"]


def test_lines_of_an_explanation_agree_on_the_number_of_groups(write: Write) -> None:
    columns = {"group:camera": CAMERA, "caption": CAPTIONS}
    explanation = explain(write("base", hits(), **columns), write("new", lost_where(CAMERA == "phone"), **columns))

    line = next(explanation.limits())
    assert line.startswith(f"Of the {explanation.n_groups} tested groups, ")
    assert f"Tested: {explanation.n_groups} groups" in explanation.sources


def test_a_share_above_the_whole_loss_is_explained(write: Write) -> None:
    columns = {"group:camera": CAMERA}
    explanation = explain(write("base", hits(), **columns), write("new", lost_where(CAMERA == "phone"), **columns))
    (claim,) = explanation.claims

    more = replace(explanation, claims=[replace(claim, share_of_loss=1.197)], spread_evenly=0.0)

    assert more.remainder == (
        "The groups that lost more than elsewhere have 119.7 % of the loss: together, the other samples gained."
    )


def test_a_group_has_twenty_samples_and_one_in_a_hundred() -> None:
    values = np.array(["a"] * 29 + ["b"] * 30 + ["c"] * (3000 - 59), object)

    assert [group.name for group in make_groups([InputColumn("x", "columns", values)], None, {}).groups] == ["x = b"]


def test_a_file_is_joined_by_id_image_and_file_name(tmp_path: Path) -> None:
    ids, items = ([f"{start}birds/{row}.jpg#0" for row in range(3)] for start in ("image_retrieval:text:", ""))
    clusters = [f"birds/{row}.jpg" for row in range(3)]
    for key, names in {
        "id": ["birds/0.jpg#0", "birds/1.jpg#0", "birds/2.jpg#0"],
        "image": ["0.jpg", "folder/1.jpg", "birds/2.jpg"],
    }.items():
        rows = "\n".join(f"{name},{value}" for name, value in zip(names, "xyx", strict=True))
        (tmp_path / "file.csv").write_text(f"{key},letter\n{rows}\n")
        (column,) = read_columns(tmp_path / "file.csv", ids, clusters, items)
        assert column.values.tolist() == ["x", "y", "x"]


@pytest.mark.parametrize("n_codes", [9, 10, 11])
def test_ten_different_numbers_are_codes_and_more_are_quantities(tmp_path: Path, n_codes: int) -> None:
    ids = [f"{row:03}" for row in range(60)]
    (tmp_path / "file.csv").write_text("id,code\n" + "".join(f"{name},{int(name) % n_codes}\n" for name in ids))

    (column,) = read_columns(tmp_path / "file.csv", ids, None)

    assert column.is_number is (n_codes > 10)


def test_a_file_with_an_endless_field_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file.csv").write_text(f"id,letter\n0,{'x' * 200_000}\n")

    with pytest.raises(UsageError, match=r"file\.csv is not CSV: field larger than field limit"):
        read_columns(tmp_path / "file.csv", ["0"], None)


def test_inputs_that_a_task_declares_make_groups_and_others_do_not(write: Write) -> None:
    columns = {"shutter": np.where(np.arange(N) % 10 == 1, "slow", "fast").astype(object), "noise": np.arange(N) * 1.0}
    base, candidate = write("base", hits(), **columns), write("new", lost_where(CAMERA == "phone"), **columns)
    (record,) = base.result.evaluations

    def declared(**inputs: InputKind) -> Run:
        return replace(base, result=replace(base.result, evaluations=[replace(record, inputs=inputs)]))

    explanation = explain(declared(shutter="condition", noise="number"), candidate)

    assert [claim.slice for claim in explanation.claims] == ["shutter = slow"]
    assert any(change.slice.startswith("noise at least ") for change in explanation.changes)
    assert not [note for note in explanation.notes if "inputs" in note]
    with pytest.raises(UsageError, match="no groups of 20 samples or more"):
        explain(base, candidate)


def test_a_task_without_inputs_has_groups_of_usual_columns_and_a_note(write: Write) -> None:
    label = np.array([("cat", "car")[row % 2] for row in range(N)], object)
    base, candidate = write("base", hits(), label=label), write("new", hits(), label=label)

    explanation = explain(base, candidate)

    assert {change.slice for change in explanation.changes} == {"class = car", "class = cat"}
    assert explanation.notes[-1] == (
        "retrieval declares no inputs: only columns with usual names, such as caption and label, make groups"
    )


def test_runs_that_cannot_be_explained_say_why(write: Write) -> None:
    columns = {"group:camera": CAMERA}
    base = write("base", hits(), **columns)
    few = [write(f"few{side}", hits()[:60], **{"group:camera": CAMERA[:60]}) for side in range(2)]
    with pytest.raises(UsageError, match="retrieval@birds/recall has 60 samples: expected 100 or more"):
        explain(few[0], few[1])
    with pytest.raises(NotComparable, match="different samples"):
        explain(base, few[0])
    with pytest.raises(UsageError, match=r"no metric 'recal' in common: did you mean 'retrieval@birds/recall"):
        explain(base, base, ExplainOptions(metric="recal"))
    bare = write("bare", hits())
    with pytest.raises(
        UsageError, match=r"no groups of 20 samples or more to explain recall by: add columns to group by"
    ):
        explain(bare, bare)


def test_an_explanation_prints_at_most_forty_lines(write: Write) -> None:
    columns = {"group:camera": CAMERA, "caption": CAPTIONS}
    worst = explain(write("base", hits(), **columns), write("new", ~hits(), **columns))

    assert len(str(worst).splitlines()) <= 40
    assert "<table" in worst._repr_html_()
    assert replace(worst, claims=[]).verdict.startswith("no group of")


def embeddings_by_colour(digests: Sequence[str], texts: Sequence[str]) -> InputEmbeddings:
    """Return embeddings in which every third image is near to texts with "yellow", and all others to none."""
    images = np.array([[1.0, 0.0] if int(digest, 16) % 3 == 1 else [0.0, 1.0] for digest in digests], np.float32)
    images += 1e-3 * np.arange(len(digests))[:, None] / len(digests)
    return InputEmbeddings(images, np.array([[float("yellow" in text), 0.1] for text in texts], np.float32))


def test_a_phrase_is_named_if_the_base_sees_it_in_the_images_that_were_lost(write: Write) -> None:
    right = lost_where(np.arange(N) % 3 == 1)
    base, candidate = write("base", hits(), image=IMAGES), write("new", right, image=IMAGES)

    explanation = explain(base, candidate, ExplainOptions(embed=embeddings_by_colour))

    assert explanation.losses[0].slice == 'like "a yellow object"'
    assert (explanation.losses[0].n, explanation.losses[0].claim) == (30, "worse than elsewhere")
    assert "phrases" not in explanation.unavailable


def test_a_class_is_paired_with_the_class_whose_name_is_nearest(write: Write) -> None:
    label = np.array([("cat", "kitten", "car", "van")[row % 4] for row in range(N)], object)
    angles = {"cat": 0.0, "kitten": 0.1, "car": 1.0, "van": 1.2}

    def embed(digests: Sequence[str], texts: Sequence[str]) -> InputEmbeddings:
        angle = np.array([angles.get(text.removeprefix("a photo of "), 2.0) for text in texts])
        vectors = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
        return InputEmbeddings(np.ones((len(digests), 2), np.float32), vectors)

    run = write("base", hits(), image=IMAGES, label=label)
    groups = explain(run, run, ExplainOptions(embed=embed)).frame()

    names = sorted(groups.query("source == 'similar classes'")["slice"])
    assert names == ["class = car or van", "class = cat or kitten"]


def test_embeddings_that_are_missing_are_said_and_end_nothing(write: Write) -> None:
    def embed(digests: Sequence[str], texts: Sequence[str]) -> InputEmbeddings:
        raise Unavailable("3 of 600 images have no stored embedding: run the base again")

    run = write("base", hits(), image=IMAGES, **{"group:camera": CAMERA})

    assert explain(run, run, ExplainOptions(embed=embed)).unavailable["phrases"].startswith("3 of 600 images")
    assert explain(run, run).unavailable["phrases"] == "they need the base's model: name it with model"
