"""Figures for papers: the files of each, for one model and for several; their numbers, and what they say of them."""

import csv
import io
import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from clipbench.comparison.compare_runs import compare
from clipbench.errors import UsageError
from clipbench.results.record import Curve, Metric
from clipbench.results.run import Run
from clipbench_reports.drawing import paper, svg_chart
from clipbench_reports.drawing.marks import MODELS, Axis, Chart, Rule, Shade
from clipbench_reports.plots.plots import PlotOptions, draw_plot, write_plot

Metrics = Callable[..., Metric]
EACH = (
    *("gap", "cones", "spectrum", "shift", "corrections", "similarity-calibration", "similarity-matrix"),
    *(
        "modalities",
        "modality-map",
        "long-caption",
        "typographic",
        "composition",
        "robustness",
        "compare",
        "track",
    ),
)
"""Plots that are tried through and through; figures of tasks have tests beside those of their sections."""
STEPS = (0, 100, 400)
APART = ("gap", "cones", "similarity-matrix", "modalities", "modality-map")
"""Plots whose models stand side by side; in others they share the panels."""
CURVES = {
    "shift": {
        ("Gap", "both moved by half"): "gap_by_shift_both",
        ("Contrastive loss (nats)", "images moved"): "loss_by_shift_image",
        ("Image-to-text R@1, %", "texts moved"): "text_retrieval_recall@1_by_shift_text",
    },
    "corrections": {
        ("Gap", "centred"): "gap_by_centring",
        ("Gap", "centred, chance"): "gap_chance_by_centring",
        ("Gap", "standardised, chance"): "gap_chance_by_standardising",
        ("Contrastive loss (nats)", "standardised"): "loss_by_standardising",
        ("Text-to-image R@1, %", "centred, length kept"): "image_retrieval_recall@1_by_collapse",
    },
    "similarity-calibration": {
        ("Probability of a match, %", f"{left}–{right}"): f"match_by_cosine_{left}_{right}"
        for left, right in (("image", "text"), ("text", "text"), ("image", "image"))
    },
    "spectrum": {
        ("Share, %", "accuracy of a linear classifier"): "separability_by_dimensions",
        ("Share, %", "fraction of the squared gap"): "gap_share_by_dimensions",
    },
    "long-caption": {
        ("Recall@1, %", "text → image"): "image_retrieval_recall@1_by_tokens",
        ("Recall@1, %", "image → text"): "text_retrieval_recall@1_by_tokens",
    },
}
"""Series of the tables, by panel and name, and the curve of the result that each shows."""


def composition(fraction: Metrics, n: int) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    columns = {"hard_negative_cosine": rng.uniform(0.9, 1, n), "other_cosine": rng.uniform(-0.3, 0.6, n)}
    metrics = {"swap/text_acc": fraction(0.27, n, chance=0.25), "count/image_acc": fraction(0.73, n, chance=0.25)}
    return {"samples": {"sample_id": np.array([f"i{k}" for k in range(n)], object), **columns}, "metrics": metrics}


def long_caption(fraction: Metrics, n: int) -> dict[str, Any]:
    tokens_by_position = {"early": 4.0, "late": 60.0, "beyond": 120.0}
    tokens = [5.0, 20.0, 77.0]
    curves = {
        "image_retrieval_recall@1_by_tokens": Curve(x=tokens, y=[0.1, 0.5, 0.6], low=[0.0, 0.4, 0.5], high=[0.2, 0.6, 0.7]),
        "text_retrieval_recall@1_by_tokens": Curve(x=tokens, y=[0.2, 0.4, 0.7]),
        "text_acc_by_position": Curve(x=list(tokens_by_position.values()), y=[0.9, 0.7, 0.5]),
    }  # fmt: skip
    metrics = {
        "image_retrieval_recall@1": fraction(0.6, n, chance=1 / n),
        "effective_length": Metric(value=33.5, low=21.0, high=40.0, unit="tokens", n=n),
        **{f"{place}/text_acc": fraction(share, n, chance=0.5) for place, share in zip(tokens_by_position, (0.9, 0.7, 0.5), strict=True)},
    }  # fmt: skip
    samples = {
        "sample_id": np.array(["a", "b", "c"], object),
        "place": np.array(list(tokens_by_position), object),
        "fact_token": np.array(list(tokens_by_position.values())),
    }
    return {"params": {"share": 0.95}, "samples": samples, "metrics": metrics, "curves": curves}


def text_in_image(fraction: Metrics, n: int) -> dict[str, Any]:
    shares = {"clean_acc": 0.95, "blank_acc": 0.9, "attacked_acc": 0.2, "attack_success": 0.7}
    heights = Curve(x=[4.0, 8.0, 16.0], y=[0.1, 0.4, 0.7], x_label="letter height, pixels")
    return {
        "samples": {"sample_id": np.array([f"i{k}" for k in range(n)], object)},
        "metrics": {name: fraction(share, n, chance=0.1) for name, share in shares.items()},
        "curves": {"attack_success_by_height": heights, "attacked_acc_by_offset": heights},
    }


def accuracy(fraction: Metrics, share: float) -> dict[str, Any]:
    samples = {"sample_id": np.array(["a", "b"], object), "acc1": np.array([1.0, 0.0])}
    return {"samples": samples, "metrics": {"acc1": fraction(share, 500)}}


def modalities(fraction: Metrics, gap: float) -> dict[str, Any]:
    """Return recordings and texts, whose cells have a value of their own each."""
    rng = np.random.default_rng(0)
    names = np.array([f"g{k}" for k in range(40)])
    vectors = {
        name: rng.standard_normal((40, 4)).astype(np.float32) + gap * side
        for side, name in enumerate(("audio", "text"))
    }
    distance = {"gap": gap, "pair_cosine": gap / 3, "separability": 1.0}
    units = {"gap": "distance", "pair_cosine": "cosine", "separability": "fraction"}
    bounded = {
        name: Metric(value=value, low=value - 0.1, high=value, n=40, unit=units[name])
        for name, value in distance.items()
    }
    return {
        "samples": {"sample_id": names.astype(object)},
        "arrays": {**vectors, "group_id": names},
        "metrics": {
            "mean_recall@1": fraction(0.3, 40, chance=0.025),
            **{f"{name}/cone": Metric(value=gap / side, n=40, unit="cosine") for side, name in enumerate(vectors, 4)},
            **{f"audio-text/{name}": metric for name, metric in bounded.items()},
            "audio-to-text/recall@1": fraction(0.2, 40, chance=0.025),
            "text-to-audio/recall@1": fraction(0.4, 40, chance=0.025),
        },
    }


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, parts: SimpleNamespace) -> list[Path]:
    """Return the runs of two models that were asked everything."""
    written_runs = []
    for index, name in enumerate(("small", "large")):
        evaluations = {
            **parts.standard(seed=index, skill=1 - 0.3 * index),
            "composition@scenes": composition(parts.fraction, 40),
            "long-caption@scenes": long_caption(parts.fraction, 400),
            "text-in-image@scenes": text_in_image(parts.fraction, 300),
            "modalities@scenes": modalities(parts.fraction, 0.9 - 0.1 * index),
            "zero-shot@imagenet": accuracy(parts.fraction, 0.63 - 0.1 * index),
            "zero-shot@imagenetv2": accuracy(parts.fraction, 0.56 - 0.1 * index),
        }
        model = {**parts.model, "ref": f"models/{name}", "fingerprint": f"{name}-0123456789"}
        folder = tmp_path_factory.mktemp("runs") / name
        written_runs.append(parts.write_run(folder, evaluations, model=model).folder)
    return written_runs


@pytest.fixture(scope="module")
def trainings(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return the folders of two trainings, with their logs."""
    folders = [tmp_path_factory.mktemp("trainings") / name for name in ("slow", "fast")]
    for pace, folder in enumerate(folders, 1):
        folder.mkdir()
        events = [{"event": "evaluation", "step": step, **scalars(pace * step / 1000)} for step in STEPS]
        (folder / "log.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    return folders


def scalars(progress: float) -> dict[str, float]:
    recalls = {f"{way}_retrieval_recall@1": progress for way in ("image", "text")}
    return {"gap": 1 - progress, "image_cone": 0.5, "text_cone": 0.4, "pair_cosine": progress, **recalls}


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Chart]:
    """Return the list that each figure which is written is added to."""
    result: list[Chart] = []
    save = paper.save

    def keep(figure: Chart, path: Path, **options: Any) -> None:
        result.append(figure)
        save(figure, path, **options)

    monkeypatch.setattr(paper, "save", keep)
    return result


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> list[Chart]:
    """Return the list that each figure is added to in place of being written: its table and caption are."""
    result: list[Chart] = []
    monkeypatch.setattr(paper, "save", lambda figure, path, **options: result.append(figure))
    return result


def runs_for(name: str, models: Sequence[Path], trainings: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Return what a plot draws of one model (of two, where it needs two), and what it draws of several."""
    if name == "track":
        return list(trainings[:1]), list(trainings)
    return list(models) if name == "compare" else list(models[:1]), list(models)


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def series(rows: Sequence[Mapping[str, str]], panel: str, name: str, *columns: str) -> list[list[float]]:
    """Return some columns of one series."""
    rows_of_series = [row for row in rows if (row["panel"], row["series"]) == (panel, name)]
    assert rows_of_series, {(row["panel"], row["series"]) for row in rows}
    return [[float(row[column]) for row in rows_of_series] for column in columns]


def curve(folder: Path, name: str, evaluation: str = "modality-gap@scenes") -> dict[str, list[float]]:
    result = json.loads((folder / "result.json").read_text())
    return next(each["curves"] for each in result["evaluations"] if f"{each['task']}@{each['dataset']['id']}" == evaluation)[name]  # fmt: skip


def arrays(run: Run, task: str) -> dict[str, np.ndarray]:
    return run.arrays(next(evaluation for evaluation in run.result.evaluations if evaluation.name == f"{task}@scenes"))


def limits(axis: Axis) -> tuple[float, float]:
    return axis.low, axis.high


@pytest.mark.parametrize(
    "name",
    [each if each == "corrections" else pytest.param(each, marks=pytest.mark.slow) for each in EACH],
)
def test_one_model_fills_a_column_and_several_a_page_on_shared_axes(
    name: str, models: list[Path], trainings: list[Path], tmp_path: Path, drawn: list[Chart]
) -> None:
    one, several = runs_for(name, models, trainings)
    for width, runs, cm in (("column", one, 8.25), ("full", several, 17.5)):
        out = tmp_path / f"{width}.svg"
        written = write_plot(name, runs, out, PlotOptions(width=width))
        assert written == [out, out.with_suffix(".csv"), out.with_suffix(".txt")]
        head = re.search(r'<svg[^>]* width="([\d.]+)pt"', out.read_text())
        assert head is not None and float(head[1]) == pytest.approx(cm / 2.54 * 72, abs=0.01)
        assert table(out.with_suffix(".csv"))
    assert sorted(path.suffix for path in tmp_path.iterdir()) == sorted([".csv", ".svg", ".txt"] * 2)
    alone, together = (figure.panels for figure in drawn)
    if name == "compare":
        assert len(together) == len(alone)  # the models share its panels
        return
    names = [folder.name for folder in several]
    for index, panel in enumerate(alone if name in APART else ()):
        first, second = pair = together[index :: len(alone)]
        assert (limits(first.x), limits(first.y)) == (limits(second.x), limits(second.y))
        assert [each.title for each in pair] == [f"{name}: {panel.title}" if panel.title else name for name in names]
    for panel in together if name not in APART else ():
        shown = {mark.name for mark in panel.marks if mark.role in MODELS and not isinstance(mark, Rule | Shade)}
        assert shown == set(names) or (name == "composition" and panel.model is not None), panel.title


@pytest.mark.parametrize("name", [name for name in EACH if name not in ("track", "compare")])
def test_the_table_of_several_models_has_all_numbers_of_the_tables_of_each(
    name: str, models: list[Path], tmp_path: Path, undrawn: list[Chart]
) -> None:
    _, models = runs_for(name, models, [])
    both = Counter(numbers(table_of(name, models, tmp_path)))
    for folder in models:
        counts = Counter(numbers(table_of(name, [folder], tmp_path)))
        assert sum(counts.values()) > 3 and counts - both == Counter()


@pytest.mark.parametrize(("name", "expected"), CURVES.items())
def test_the_table_holds_the_curves_of_the_result(
    name: str, expected: Mapping[tuple[str, str], str], models: list[Path], tmp_path: Path, undrawn: list[Chart]
) -> None:  # fmt: skip
    write_plot(name, models[1:], tmp_path / "figure.svg", PlotOptions())
    evaluation = "long-caption@scenes" if name == "long-caption" else "modality-gap@scenes"
    rows = [{**row, "panel": re.sub(r"^\d ", "", row["panel"])} for row in table(tmp_path / "figure.csv")]
    for (panel, label), result in expected.items():
        whole = curve(models[1], result, evaluation)
        assert series(rows, panel, label, "x", "y") == [whole["x"], whole["y"]]
        if whole["low"] is not None:
            assert series(rows, panel, label, "low", "high") == [whole["low"], whole["high"]]


def test_representational_similarity_is_a_matrix_of_every_two_models_for_each_measure_and_modality(
    models: list[Path], tmp_path: Path, drawn: list[Chart]
) -> None:
    runs = [*models, models[0]]
    write_plot("representational-similarity", runs, tmp_path / "figure.svg", PlotOptions(width="full"))
    rows = table(tmp_path / "figure.csv")
    frame = compare(models[0], models[1]).similarity_frame()
    values = dict(zip(zip(frame["modality"], frame["metric"], strict=True), frame["value"], strict=True))
    panels = {
        "k-NN of images, %": values["image", "mutual_knn"],
        "k-NN of texts, %": values["text", "mutual_knn"],
        "CKA of images": values["image", "cka"],
        "CKA of texts": values["text", "cka"],
    }
    assert [panel.title for panel in drawn[0].panels] == list(panels)
    for title, value in panels.items():
        own = {(row["x"], row["y"]): float(row["value"]) for row in rows if row["panel"] == title}
        assert len(own) == 9 and own["0", "0"] == own["0", "2"] == own["2", "0"] == 1
        assert own["0", "1"] == own["1", "0"] == own["1", "2"] == pytest.approx(value)
    assert rows[1]["id"].count(" | ") == 1
    text = (tmp_path / "figure.txt").read_text()
    assert text.startswith("Pairs of models share ") and "on the same 600 pairs of modality-gap@scenes" in text
    assert "1.7 % by chance" in text and "Alike is not better. Brackets, where they fit, hold 95 % intervals." in text
    assert ElementTree.fromstring(svg_chart.draw(drawn[0])) is not None
    with pytest.raises(UsageError, match="1 of 1 runs have vectors of pairs: expected at least 2"):
        write_plot("representational-similarity", models[:1], tmp_path / "figure.svg", PlotOptions())


def numbers(rows: Sequence[Mapping[str, str]]) -> list[tuple[str, ...]]:
    """Return what was measured: values on the axes of values, and bounds; places among categories are the figure's
    own.
    """
    result: list[tuple[str, ...]] = []
    for row in rows:
        is_reference = row["series"].split(", ")[-1] in REFERENCES
        lying = row["low"] and row["x"] and float(row["low"]) <= float(row["x"]) <= float(row["high"])
        places = (row["x"],) if lying or not row["y"] else (row["y"],)
        if not is_reference:
            result.append((*places, row["low"], row["high"], row["value"]))
    return result


def table_of(name: str, runs: Sequence[Path], folder: Path) -> list[dict[str, str]]:
    write_plot(name, runs, folder / "figure.png", PlotOptions())
    return table(folder / "figure.csv")


REFERENCES = ("chance", "90 %", "end of the window", "beyond the window", "effective length", "and moved by the gap")


@pytest.mark.slow
def test_another_process_gives_the_same_bytes(models: list[Path], tmp_path: Path) -> None:
    draw = (
        "import sys, pathlib; from clipbench_reports.plots import plots; *runs, out = map(pathlib.Path, sys.argv[1:]); "
    )
    draw += "plots.write_plot('similarity-calibration', runs, out, plots.PlotOptions())"
    here, there = (tmp_path / f"{name}.svg" for name in ("here", "there"))
    seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    subprocess.run([sys.executable, "-c", draw, *map(str, models), str(there)], env=environment, check=True)
    write_plot("similarity-calibration", models, here, PlotOptions())
    assert here.read_bytes() == there.read_bytes()


def test_no_name_in_a_figure_of_a_paper_is_cut(make_run: Callable[..., Run], parts: SimpleNamespace) -> None:
    names = [f"ViT-B-16-finetuned-on-photographs-with-hard-negatives-epoch-{number}" for number in (10, 20)]
    runs = [make_run(name=model, model={**parts.model, "ref": model}) for model in names]
    texts = {text.get_text().replace("\n", "") for text in draw_plot("spectrum", runs).findobj(Text)}
    assert set(names) <= texts and not any("…" in text for text in texts)


def test_a_figure_of_matplotlib_comes_back_without_pyplot_and_shows_itself(make_run: Callable[..., Run]) -> None:
    before = {name: mpl.rcParams[name] for name in paper.SETTINGS}
    figure = draw_plot("gap", [make_run()])
    assert isinstance(figure, Figure) and {name: mpl.rcParams[name] for name in paper.SETTINGS} == before
    assert figure.axes[0].get_xlabel() == "First principal component"
    png, metadata = figure._repr_png_()  # type: ignore[attr-defined]  # IPython's own name
    with Image.open(io.BytesIO(png)) as image:
        assert (image.width, metadata["width"]) == (649, 325)
