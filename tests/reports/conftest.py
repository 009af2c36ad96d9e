"""A run folder as ``clipbench run`` leaves it, with numbers that look like a real model's."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas
import PIL.Image
import pytest

from clipbench.results.record import Curve, DatasetRecord, EvaluationRecord, Metric, Result, Status
from clipbench.results.run import Run, read_run, write_result
from clipbench_reports.drawing.marks import Chart
from clipbench_reports.evidence import Evidence, ModelEvidence, ModelKey
from clipbench_reports.galleries import Gallery, MakeGallery, PageBudget
from tests.reports.recorded import recorded

CLASSES = ("cube", "sphere", "cylinder", "cone", "torus", "pyramid", "star", "ring", "arch", "cross")
HOSTILE = '<script>alert("1")</script>&amp; "\u202eשלום" 👩‍👩‍👧 ' + "very-long-" * 30
AXE = Path(__file__).parents[2] / ".axe" / "node_modules" / "axe-core" / "axe.min.js"
PAYLOADS = (
    '<script>window.broken = "script"</script>',
    "<img src=x onerror=\"window.broken = 'img'\">",
    '"><svg onload="window.broken = 1"></svg>',
    "'\"--></style></script></template></title><script>window.broken = 2</script>",
    "{{ 7 * 7 }}{% raw %}",
    "javascript:window.broken=3",
)
MakeRun = Callable[..., Run]
Make = Callable[..., Evidence]
Visit = Callable[..., "Page"]
Faults = Callable[["Page"], list[tuple[str, str, str]]]
if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Return a function that writes a run folder and reads it back."""

    def make(evaluations: Mapping[str, dict[str, Any]] | None = None, *, name: str = "run", **changes: Any) -> Run:
        chosen = standard_evaluations() if evaluations is None else evaluations
        return write_run(tmp_path / name, chosen, **changes)

    return make


@pytest.fixture
def visit(browser: "Browser") -> Iterator[Visit]:
    """Return a function that opens a file; what the page logs, fails or asks for is a failure of the test."""
    trouble: list[str] = []
    contexts = []

    def refuse(dialog: Any) -> None:
        trouble.append(dialog.message)
        dialog.dismiss()

    def make(path: Path, *, width: int = 1200, **options: Any) -> "Page":
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: trouble.append(message.text))
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("dialog", refuse)
        page.on(
            "request", lambda sent: trouble.extend([sent.url] if not sent.url.startswith(("file:", "data:")) else [])
        )
        page.goto(path.as_uri())
        return page

    yield make
    for context in contexts:
        context.close()
    assert not trouble


def unfold(page: "Page") -> "Page":
    """Open every fold of a page, and return the page."""
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    return page


@pytest.fixture
def axe_faults() -> Faults:
    """Return a function that unfolds a page and returns what axe-core finds wrong with it."""
    if not AXE.is_file():
        pytest.skip("axe-core is not installed: make axe")

    def find(page: "Page") -> list[tuple[str, str, str]]:
        unfold(page)
        page.evaluate(AXE.read_text(encoding="utf-8"))
        page_state = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
        assert page_state["passes"]
        return [(fault["id"], fault["help"], fault["nodes"][0]["html"]) for fault in page_state["violations"]]

    return find


@pytest.fixture(params=[PAYLOADS[-1], "".join(PAYLOADS)], ids=["an address", "all in a row"])
def payload(request: pytest.FixtureRequest) -> str:
    """Return words that would do something if any page took them for markup or a script."""
    return str(request.param)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> list[Chart]:
    """Return the list that each figure is added to in place of being written: its table and caption are."""
    result: list[Chart] = []
    monkeypatch.setattr("clipbench_reports.drawing.paper.save", lambda figure, path, **options: result.append(figure))
    return result


@pytest.fixture
def evidence(make_run: MakeRun) -> Callable[..., Evidence]:
    """Return a function that keeps the parts of one evaluation in a run and gives it as evidence."""

    def make(**parts: Any) -> Evidence:
        return evidence_of(make_run({"task@data": parts}))

    return make


@pytest.fixture
def hang(make_run: MakeRun, parts: SimpleNamespace) -> Callable[..., Gallery]:
    """Return a function that makes a gallery of a sample table, with a small image for each hash."""

    def make(of: MakeGallery, room: int = 1_000_000, **samples: Any) -> Gallery:
        columns = {name: np.array(values) for name, values in samples.items()}
        run = make_run({"task@data": {"samples": columns}})
        images = [column for name, column in samples.items() if name == "image" or name.endswith("_image")]
        parts.write_thumbnails(run.folder, dict.fromkeys(digest for column in images for digest in column if digest))
        return of(evidence_of(run), PageBudget(room))

    return make


def evidence_of(run: Run, place: int = 0) -> Evidence:
    """Return the evidence of one evaluation of a run."""
    return Evidence(run, run.result.evaluations[place])


def alone(evidence: Evidence) -> list[ModelEvidence]:
    """Return the evidence of one model, as a figure takes it."""
    return [ModelEvidence(ModelKey("model", 0), evidence)]


def hits(n_right: int, n: int = 200, *, title: str = "", **changes: Any) -> dict[str, Any]:
    """Return an evaluation in which the first ``n_right`` samples are right."""
    column = (np.arange(n) < n_right).astype(np.float64)
    metric = Metric(value=float(column.mean()), n=n, higher_is_better=True, column="acc1", title=title)
    samples = {"sample_id": np.array([f"s{k}" for k in range(n)], object), "acc1": column}
    return {"metrics": {"acc1": metric}, "samples": samples, **changes}


def write_run(folder: Path, evaluations: Mapping[str, dict[str, Any]], **changes: Any) -> Run:
    """Write a run folder and read it back."""
    for part in ("samples", "arrays"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    records = [_record(folder, key, **parts) for key, parts in evaluations.items()]
    write_result(Result(**{**_identity(), "evaluations": records, **changes}), folder)
    return read_run(folder)


def write_thumbnails(folder: Path, digests: Iterable[str], *, side: int = 8) -> None:
    """Write small images, as a run keeps them."""
    (folder / "thumbs").mkdir(exist_ok=True)
    for index, digest in enumerate(digests):
        colour = (40 * index % 256, 80, 160)
        PIL.Image.new("RGB", (side, side), colour).save(folder / "thumbs" / f"{digest}.webp")


@pytest.fixture(scope="session")
def parts() -> SimpleNamespace:
    """Return the functions that make the parts of evaluations, and the names that they use."""
    return SimpleNamespace(
        write_run=write_run,
        write_thumbnails=write_thumbnails,
        model=_identity()["model"],
        standard=standard_evaluations,
        zero_shot=zero_shot,
        side_by_side=side_by_side,
        retrieval=retrieval,
        modality_gap=modality_gap,
        fraction=fraction,
        classes=CLASSES,
        hostile=HOSTILE,
        payloads=PAYLOADS,
    )


def standard_evaluations(seed: int = 0, skill: float = 1.0) -> dict[str, dict[str, Any]]:
    """Return the three tasks, one evaluation that could not be had and one that failed, by ``task@data``."""
    rng = np.random.default_rng(seed)
    return {
        "zero-shot@scenes": zero_shot(rng, CLASSES, skill=skill),
        "retrieval@scenes": retrieval(rng, skill=skill),
        "modality-gap@scenes": modality_gap(rng),
        "zero-shot@imagenet": {
            "status": "unavailable",
            "reason": "imagenet is gated: accept its terms, then `clipbench data get imagenet`",
        },
        "retrieval@coco": {"status": "failed", "reason": "cannot read image val/000139.jpg: truncated file"},
    }


def zero_shot(
    rng: np.random.Generator, classes: tuple[str, ...], *, n: int = 2000, skill: float = 1.0
) -> dict[str, Any]:
    """Return samples, metrics, curves and arrays as the zero-shot task leaves them."""
    label = rng.integers(0, len(classes), n)
    logits = rng.normal(size=(n, len(classes)))
    logits[np.arange(n), label] += 3.2 * skill
    logits[:, 1] += 1.6 * (label == 0)
    shares = np.exp(1.3 * logits) / np.exp(1.3 * logits).sum(axis=1, keepdims=True)
    predicted, confidence = shares.argmax(axis=1), shares.max(axis=1)
    right = (predicted == label).astype(np.float64)
    own, ordered = logits[np.arange(n), label], np.sort(logits, axis=1)
    first_five = (ordered[:, -min(5, len(classes))] <= own).astype(np.float64)
    names = np.array(["{c}", "a {c}", "a photo of a {c}.", "an image of a small {c} on a table", "art of the {c}."])
    edges = np.linspace(0, 1, 16)
    bins = np.digitize(confidence, edges[1:-1])
    used = [b for b in range(15) if (bins == b).sum() > 0]
    return {
        "samples": {
            "sample_id": np.array([f"image-{k:05}" for k in range(n)], object),
            "image": np.array([f"{k:032x}" for k in range(n)], object),
            "label": np.array(classes, object)[label],
            "predicted": np.array(classes, object)[predicted],
            "acc1": right,
            "acc5": first_five,
            "confidence": confidence,
            "margin": np.where(right == 1, ordered[:, -1] - ordered[:, -2], own - ordered[:, -1]),
            "target_cosine": own / 10,
            "predicted_cosine": ordered[:, -1] / 10,
        },
        "metrics": {
            "acc1": fraction(right.mean(), n, chance=1 / len(classes)),
            "acc5": fraction(first_five.mean(), n, chance=min(1.0, 5 / len(classes))),
            "mean_per_class_recall": fraction(right.mean() - 0.001, n, chance=1 / len(classes)),
            "ece": fraction(0.0421, n, higher_is_better=False),
        },
        "curves": {
            "reliability": Curve(
                x=[float(confidence[bins == b].mean()) for b in used],
                y=[float(right[bins == b].mean()) for b in used],
                x_label="confidence",
                y_label="accuracy",
            ),
            "templates": Curve(x=[1.0, 2.0, 3.0, 4.0, 5.0], y=[0.801, 0.812, 0.826, 0.835, 0.839]),
        },
        "arrays": {"template_names": names},
        "baselines": {"tie_rate": fraction(0.0, n, higher_is_better=None)},
        "notes": ["Prompts: 5 templates of the data set."],
        "params": {"prompts": None},
    }


def side_by_side(by_set: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the zero-shot parts of several label sets of the same images as one, named by set."""
    result: dict[str, Any] = {part: {} for part in ("samples", "metrics", "curves", "arrays", "baselines")}
    for label_set, parts in by_set.items():
        for part, run_items in result.items():
            run_items.update({f"{label_set}/{name}": value for name, value in parts[part].items()})
    shared = {name: next(iter(by_set.values()))["samples"][name] for name in ("sample_id", "image")}
    notes = [f"{label_set}: {note}" for label_set, parts in by_set.items() for note in parts["notes"]]
    return result | {"samples": {**shared, **result["samples"]}, "notes": ["drawn by a rule", *notes]}


def retrieval(rng: np.random.Generator, *, n: int = 500, skill: float = 1.0) -> dict[str, Any]:
    """Return samples, metrics, curves and arrays as the retrieval task leaves them."""
    images, texts = vectors(rng, n, skill=skill)
    scores = images @ texts.T
    ranks = {
        "text": 1 + (scores > np.diag(scores)[:, None]).sum(axis=1),
        "image": 1 + (scores > np.diag(scores)[None, :]).sum(axis=0),
    }
    true_cosines, none = np.diag(scores), np.full(n, np.nan)
    values = np.where(np.eye(n, dtype=bool), -1, scores)
    first = {"text": values.max(axis=1), "image": values.max(axis=0)}
    ks = range(1, min(100, n) + 1)
    metrics, curves = dict[str, Metric](), dict[str, Curve]()
    for way, rank in ranks.items():
        for k in (1, 5, 10):
            metrics[f"{way}_retrieval_recall@{k}"] = fraction((rank <= k).mean(), n, chance=k / n)
    for way, rank in ranks.items():
        middle = float(np.median(rank))
        metrics[f"{way}_retrieval_median_rank"] = Metric(
            value=middle, low=middle, high=middle + 1, n=n, unit="rank", higher_is_better=False
        )
        curves[f"{way}_retrieval_recall"] = Curve(x=[float(k) for k in ks], y=[float((rank <= k).mean()) for k in ks])
        curves[f"{way}_retrieval_recall_chance"] = Curve(x=[float(k) for k in ks], y=[k / n for k in ks])
    metrics["text_text_recall@1"] = Metric(value=None, reason="no image has two captions")
    return {
        "samples": {
            "sample_id": np.array([f"{way}-{k}" for way in ranks for k in range(n)], object),
            "direction": np.repeat([f"{way}_retrieval" for way in ranks], n).astype(object),
            "image": np.array([f"{k:032x}" for _ in ranks for k in range(n)], object),
            "margin": 1.5 - np.concatenate(list(ranks.values())),
            "text_retrieval_rank": np.concatenate([ranks["text"], none]),
            "image_retrieval_rank": np.concatenate([none, ranks["image"]]),
            "text_retrieval_cosine_margin": np.concatenate([true_cosines - first["text"], none]),
            "image_retrieval_cosine_margin": np.concatenate([none, true_cosines - first["image"]]),
            "target_cosine": np.concatenate([true_cosines, true_cosines]),
            "predicted_cosine": np.concatenate([np.maximum(true_cosines, first[way]) for way in ranks]),
        },
        "metrics": metrics,
        "curves": curves,
        "arrays": {"similarity": scores[:50, :50].astype(np.float32)},
    }


def modality_gap(rng: np.random.Generator, *, n: int = 600) -> dict[str, Any]:
    """Return metrics, curves and vectors as the modality-gap task leaves them."""
    images, texts = vectors(rng, n)
    fixed = "no interval: a mean over all pairs of vectors, which no resampling of samples is valid for"
    names = np.array([f"pair-{k}" for k in range(n)])
    return {
        "samples": {"sample_id": names.astype(object)},
        "metrics": {
            "gap": Metric(value=0.8514, low=0.8431, high=0.8602, n=n, unit="distance", method="delta"),
            "image_cone": Metric(value=0.5315, n=n, unit="cosine", reason=fixed),
            "text_cone": Metric(value=0.5152, n=n, unit="cosine", reason=fixed),
            "pair_cosine": Metric(value=0.3099, low=0.3071, high=0.3127, n=n, unit="cosine"),
            "rmg": Metric(value=0.587, low=0.581, high=0.593, n=n, unit="ratio"),
            "separability": fraction(1.0, n, chance=0.5, higher_is_better=None),
            "alignment": Metric(value=1.3802, low=1.3746, high=1.3858, n=n, unit="squared distance"),
            "image_uniformity": Metric(value=-1.8312, n=n, unit="nats", reason=fixed),
            "image_effective_rank": Metric(value=201.4, n=n, unit="dimensions", reason=fixed),
        },
        "curves": {**cosine_curves(images, texts), **gap_curves(images, texts), **moved_curves(), **match_curves()},
        "arrays": {"images": images, "texts": texts, "pair_id": names},
    }


def cosine_curves(images: np.ndarray, texts: np.ndarray) -> dict[str, Curve]:
    """Return the distributions of cosines within and across, as fractions of 200 bins, empty ends cut off."""
    apart = ~np.eye(len(images), dtype=bool)
    cosines = {
        "image": (images @ images.T)[apart],
        "text": (texts @ texts.T)[apart],
        "cross": (images @ texts.T)[apart],
        "pair": (images * texts).sum(axis=1),
    }
    result = {}
    for name, values in cosines.items():
        shares, edges = np.histogram(values, 200, (-1, 1))
        used = slice(np.flatnonzero(shares)[0], np.flatnonzero(shares)[-1] + 1)
        middles, parts = (edges[:-1] + edges[1:])[used] / 2, shares[used] / shares.sum()
        result[f"cosines_{name}"] = Curve(x=middles.tolist(), y=parts.tolist(), x_label="cosine")
    return result


def gap_curves(images: np.ndarray, texts: np.ndarray) -> dict[str, Curve]:
    """Return how the gap is spread over dimensions, and made-up curves of what is left without some of them."""
    sizes = np.sort(np.abs(images.mean(axis=0) - texts.mean(axis=0)))[::-1].astype(np.float64)
    ranks = [float(k) for k in range(1, len(sizes) + 1)]
    removed = [0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0]
    left = [float(np.sqrt((sizes[int(k) :] ** 2).sum())) for k in removed]
    return {
        "gap_spectrum": Curve(x=ranks, y=sizes.tolist()),
        "gap_share_by_dimensions": Curve(x=ranks, y=(np.cumsum(sizes**2) / (sizes**2).sum()).tolist()),
        "separability_by_dimensions": Curve(x=[1.0, 2.0, 4.0, 8.0, 48.0], y=[0.9, 0.97, 0.99, 1.0, 1.0]),
        "gap_by_ablation": Curve(x=removed, y=left),
        "image_retrieval_recall@1_by_ablation": Curve(x=removed, y=[0.5, 0.52, 0.5, 0.48, 0.4, 0.3, 0.1]),
        "text_retrieval_recall@1_by_ablation": Curve(x=removed, y=[0.45, 0.5, 0.5, 0.45, 0.4, 0.25, 0.1]),
    }


def moved_curves() -> dict[str, Curve]:
    """Return made-up curves of gap, loss and recall as vectors are shifted and corrected."""
    distances = {way: np.array([-1, -0.5, 0, 0.5, 0.8514, 1]) for way in ("shift_both", "shift_image", "shift_text")}
    strengths = {way: np.linspace(0, 1, 5) for way in ("centring", "standardising", "collapse")}
    result = dict[str, Curve]()
    for index, (way, x) in enumerate({**distances, **strengths}.items()):
        heights = {
            "gap": np.abs(0.8514 - x),
            "loss": 3 + (x - 0.1 * index) ** 2,
            "image_retrieval_recall@1": 0.5 - 0.1 * x**2,
            "text_retrieval_recall@1": 0.45 - 0.1 * x**2,
        }
        if way in strengths:
            heights["gap_chance"] = 0.04 + 0.01 * x + 0.001 * index
        result |= {f"{name}_by_{way}": Curve(x=x.tolist(), y=y.tolist()) for name, y in heights.items()}
    return result


def match_curves() -> dict[str, Curve]:
    """Return made-up probabilities of a match by cosine."""
    x = np.linspace(-0.2, 1, 13)
    middles = {"image_text": 0.3, "text_text": 0.7, "image_image": 0.6}
    return {
        f"match_by_cosine_{kind}": Curve(x=x.tolist(), y=(1 / (1 + np.exp(-20 * (x - middle)))).tolist())
        for kind, middle in middles.items()
    }


def vectors(rng: np.random.Generator, n: int, *, dim: int = 48, skill: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Return unit vectors of pairs in two cones."""
    shared = rng.normal(size=(n, dim)) * skill
    result = []
    for axis in (0, 1):
        own_part = shared + 0.9 * rng.normal(size=(n, dim))
        own_part[:, axis] += 9.0
        result.append((own_part / np.linalg.norm(own_part, axis=1, keepdims=True)).astype(np.float32))
    return result[0], result[1]


def fraction(value: float, n: int, *, chance: float | None = None, higher_is_better: bool | None = True) -> Metric:
    """Return a metric with a normal interval."""
    half = 1.96 * float(np.sqrt(max(value * (1 - value), 0.25 / n) / n))
    return Metric(
        value=float(value),
        low=max(0.0, float(value) - half),
        high=min(1.0, float(value) + half),
        n=n,
        chance=chance,
        higher_is_better=higher_is_better,
    )


def _record(
    folder: Path,
    name: str,
    *,
    samples: Mapping[str, np.ndarray] | None = None,
    arrays: Mapping[str, np.ndarray] | None = None,
    neighbours: Mapping[str, Any] | None = None,
    status: Status = "ok",
    **parts: Any,
) -> EvaluationRecord:
    task, _, data = name.partition("@")
    stem, files = f"{len(list((folder / 'samples').iterdir()))}", dict[str, str]()
    if samples:
        files["samples"] = f"samples/{stem}.parquet"
        pandas.DataFrame(dict(samples)).to_parquet(folder / files["samples"], index=False)
    if neighbours:
        files["neighbours"] = f"samples/{stem}-neighbours.parquet"
        pandas.DataFrame(dict(neighbours)).to_parquet(folder / files["neighbours"], index=False)
    if arrays:
        files["arrays"] = f"arrays/{stem}.npz"
        np.savez(folder / files["arrays"], allow_pickle=False, **arrays)
    n = len(next(iter(samples.values()))) if samples else 0
    work = {
        "seconds": {"load": 1.2, "encode_images": 35.2, "encode_texts": 0.41, "score": 0.03},
        "encoded": {"images": n, "texts": 50, "stored_images": 0, "stored_texts": 12},
    }
    if "curves" in parts:
        parts = {**parts, "curves": recorded(parts["curves"])}
    pairs = [name for name in ("images", "texts", "pair_id") if name in (arrays or ())]
    return EvaluationRecord(
        **{
            "task": task,
            "accuracy": "acc1" if task == "zero-shot" else "",
            "vectors": pairs,
            "task_version": 1,
            "params": {},
            "dataset": DatasetRecord(id=data, revision="v3", split="test", n_samples=n, fingerprint="9f8e7d6c5b4a3928"),
            "status": status,
            "files": files,
            **(work if status == "ok" else {}),
            **parts,
        }
    )


def _identity() -> dict[str, Any]:
    return {
        "clipbench_version": "0.1.0",
        "created": "2026-11-24T14:15:00+00:00",
        "command": ["clipbench", "run", "--model", "vit-b-32", "--tasks", "all", "--data-root", "my data"],
        "seed": 0,
        "environment": {
            "python": "3.11.7",
            "torch": "2.13.0",
            "platform": "Linux",
            "device": "cpu",
            "precision": "fp32",
        },
        "model": {
            "ref": "vit-b-32",
            "id": "open_clip:ViT-B-32-quickgelu/openai",
            "fingerprint": "1a2b3c4d5e6f70819203a4b5c6d7e8f9",
            "family": "open_clip/CLIP",
            "embed_dim": 512,
            "context_length": 77,
            "image_size": 224,
            "logit_scale": 100.0,
            "logit_bias": 0.0,
            "n_parameters": 151277313,
            "notes": ["OpenAI's weights use QuickGELU; the architecture was chosen to match."],
        },
    }
