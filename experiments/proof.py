"""Repeat published numbers from the outputs of true models, and write experiments/proof.md: `make proof`.

Each source is downloaded at a fixed commit, or found in the folder of --from, and checked by its SHA-256. Its arrays
or labels are written in the form that clipbench reads, without a change to any value, and measured by the commands that
the page shows.

Status 1: a number differs from the published one at its printed precision. Status 2: a source is missing or differs.
"""

import argparse
import csv
import gzip
import io
import json
import math
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

import clipbench
from proof_sources import SOURCES, ProofError, locate_sources

ROOT = Path(__file__).parents[1]
TEMPLATE = Path(__file__).with_name("proof_page.md")
NO_INTERVAL = "–"
COMPUTED = ("paired", "numpy")
"""Tables of values that nobody has published."""


class Row(NamedTuple):
    """A published value, and that of clipbench."""

    title: str
    published: str
    """With all its digits."""
    value: float
    low: float | None = None
    high: float | None = None

    @property
    def n_decimals(self) -> int:
        return len(self.published.partition(".")[2])

    @property
    def shown(self) -> str:
        """The value with as many decimals as the published one."""
        return f"{self.value:.{self.n_decimals}f}"

    @property
    def is_equal(self) -> bool:
        return self.shown == self.published

    def line(self) -> str:
        """Return the row of the page."""
        interval = NO_INTERVAL if self.low is None or self.high is None else f"[{self.low:.4f}, {self.high:.4f}]"
        difference = "0" if self.is_equal else f"{self.value - float(self.published):+.2g}"
        return f"| {self.title} | {self.published} | {self.shown} | {interval} | {difference} |"


class Section(NamedTuple):
    """What is repeated from the files of one repository."""

    prepare: Callable[[Mapping[str, Path], Path], None]
    """Writes the inputs of the commands into a folder, from the files of the sources by their keys."""
    commands: tuple[str, ...]
    rows: Mapping[str, Callable[[Mapping[str, Path], Path], Iterable[Row]]]
    """The tables of the page, by their names in the template."""


def main() -> None:
    """Measure everything, and write the page."""
    options = arguments()
    try:
        paths = locate_sources(SOURCES, options.folder, options.out / "sources")
    except ProofError as error:
        print("\n".join(f"proof: {line}" for line in str(error).splitlines()), file=sys.stderr)
        sys.exit(2)
    tables = {name: rows for section in SECTIONS for name, rows in measured(section, paths, options.out).items()}
    has_parity = options.page.with_name("parity.md").is_file()
    options.page.write_text(page(tables, has_parity=has_parity), encoding="utf-8")
    unequal = [row for rows in tables.values() for row in rows if not row.is_equal]
    for row in unequal:
        print(f"proof: {row.title}: got {row.value}, expected {row.published}", file=sys.stderr)
    n_published, n_computed = counts_of(tables)
    equal = f"{len(unequal)} differ" if unequal else "all equal"
    print(
        f"{n_published} published values and {n_computed} computed twice: "
        f"{equal} at their printed precision; {options.page}"
    )
    sys.exit(1 if unequal else 0)


def counts_of(tables: Mapping[str, Sequence[Row]]) -> tuple[int, int]:
    """Return the number of published values, and of values that are computed a second time instead."""
    n_computed = sum(len(tables[name]) for name in COMPUTED)
    return sum(map(len, tables.values())) - n_computed, n_computed


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--from",
        dest="folder",
        type=Path,
        metavar="FOLDER",
        help="folder with the sources; without it they are downloaded",
    )
    parser.add_argument(
        "--out", type=Path, default=ROOT / "runs" / "proof", help="folder of inputs and runs [runs/proof]"
    )
    parser.add_argument("--page", type=Path, default=ROOT / "experiments" / "proof.md", help="[experiments/proof.md]")
    return parser.parse_args()


def measured(section: Section, paths: Mapping[str, Path], out: Path) -> dict[str, list[Row]]:
    """Return the rows of each table of a section, from runs that are made now."""
    out.mkdir(parents=True, exist_ok=True)
    section.prepare(paths, out)
    for command in section.commands:
        print(f"$ {command}", flush=True)
        run_command(command, out)
    return {name: list(rows(paths, out)) for name, rows in section.rows.items()}


def run_command(command: str, folder: Path) -> None:
    """Run a command of the page in a folder, again if it was run before."""
    words = command.split()
    if words[:2] == ["clipbench", "run"]:
        words += ["--no-report", "--quiet"]
        remove_run(folder / words[words.index("--out") + 1])
    done = subprocess.run(
        [sys.executable, "-m", *words],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"proof: `{command}` ended with status {done.returncode}: {done.stderr.strip()}")


def remove_run(folder: Path) -> None:
    """Remove the result of an earlier command, so that this one measures again."""
    for file in (*folder.glob("samples/*"), *folder.glob("arrays/*"), folder / "result.json"):
        file.unlink(missing_ok=True)


# -- Winoground: embeddings of a third party


def prepare_winoground(paths: Mapping[str, Path], out: Path) -> None:
    arrays = np.load(paths["winoground"])
    items = [
        {
            "id": row["id"],
            "images": [2 * number, 2 * number + 1],
            "captions": [2 * number, 2 * number + 1],
            "truth": [[1, 0], [0, 1]],
            "subset": row["tag"],
        }
        for number, row in enumerate(read_csv(paths["flags"]))
    ]
    folder = write_vectors(out / "winoground", arrays["img"], arrays["cap"])
    (folder / "items.jsonl").write_text("".join(f"{json.dumps(item)}\n" for item in items), encoding="utf-8")


SCORES = {"text": "text_acc", "image": "image_acc", "group": "group_acc"}
BY_TAG = {
    "Relation": ("0.30472103004291845", "0.09012875536480687", "0.04721030042918455"),
    "Object": ("0.3900709219858156", "0.10638297872340426", "0.0851063829787234"),
    "Both": ("0.5", "0.3076923076923077", "0.2692307692307692"),
}
RECALLS = {
    "text to image, R@1": ("0.30375", "image_retrieval_recall@1"),
    "text to image, R@5": ("0.6675", "image_retrieval_recall@5"),
    "text to image, R@10": ("0.77375", "image_retrieval_recall@10"),
    "text to image, median rank": ("2.0", "image_retrieval_median_rank"),
    "image to text, R@1": ("0.34", "text_retrieval_recall@1"),
    "image to text, R@5": ("0.70125", "text_retrieval_recall@5"),
    "image to text, R@10": ("0.795", "text_retrieval_recall@10"),
    "image to text, median rank": ("2.0", "text_retrieval_median_rank"),
}


def winoground_rows(paths: Mapping[str, Path], out: Path) -> Iterator[Row]:
    """Yield the scores of all examples and by tag, the flags that differ, and recall among 800 images and captions."""
    run = clipbench.read_run(out / "runs/winoground")
    for (name, metric), published in zip(SCORES.items(), ("0.3475", "0.11", "0.075"), strict=True):
        yield row_of(run, f"composition@embeddings/micro/{metric}", f"{name} score", published)
    for tag, values in BY_TAG.items():
        for (name, metric), published in zip(SCORES.items(), values, strict=True):
            yield row_of(run, f"composition@embeddings/{tag}/{metric}", f"{name} score, {tag}", published)
    yield Row("differing flags, of 1,200", "0", differing_flags(run, read_csv(paths["flags"])))
    for name, (published, metric) in RECALLS.items():
        yield row_of(run, f"retrieval@embeddings/{metric}", name, published)


def differing_flags(run: clipbench.Run, published: Sequence[Mapping[str, str]]) -> int:
    """Return how many of the flags text, image and group of the examples differ from those of the run."""
    samples = run.samples("composition").set_index("sample_id")
    return sum(
        float(row[name]) != samples.loc[row["id"], f"{row['tag']}/{metric}"]
        for row in published
        for name, metric in SCORES.items()
    )


# -- ImageNet: predicted classes


MODELS = {"clip": "CLIP ViT-B/16", "resnet50": "ResNet-50", "dinov2": "DINOv2 ViT-S/14, linear probe"}
ACCURACIES = {"clip": "0.68344", "resnet50": "0.76146", "dinov2": "0.81052"}


def prepare_predictions(paths: Mapping[str, Path], out: Path) -> None:
    for key in (*MODELS, "cue-conflict"):
        rows = [(row["imagename"], row["category"], answer_in(row)) for row in read_csv(paths[key])]
        write_predictions(out / f"{key}.csv", sorted(rows))


def answer_in(row: Mapping[str, str]) -> str:
    """Return the predicted class of a row, in the published table or in its smaller copy."""
    return row["response"] if "response" in row else row["object_response"]


def imagenet_rows(paths: Mapping[str, Path], out: Path) -> Iterator[Row]:
    """Yield the accuracies that the repository publishes in raw-data/performances."""
    for key, name in MODELS.items():
        yield row_of(clipbench.read_run(out / "runs" / key), ACC1, f"{name}, ImageNet-val", ACCURACIES[key])
    cue_conflict = clipbench.read_run(out / "runs/cue-conflict")
    yield row_of(cue_conflict, ACC1, "CLIP ViT-B/16, 1,280 cue-conflict pictures", "0.40078125")


def paired_rows(paths: Mapping[str, Path], out: Path) -> Iterator[Row]:
    """Yield counts, difference, interval and p-value of two comparisons, and those by a second computation."""
    is_right = {
        key: {row["imagename"]: row["category"] == answer_in(row) for row in read_csv(paths[key])} for key in MODELS
    }
    for key in ("resnet50", "dinov2"):
        difference = difference_in(out / f"{key}.json")
        gained = sum(is_right[key][id] and not is_right["clip"][id] for id in is_right["clip"])
        lost = sum(is_right["clip"][id] and not is_right[key][id] for id in is_right["clip"])
        n = len(is_right["clip"])
        change = (gained - lost) / n
        margin = 1.959964 * math.sqrt((gained + lost) / n - change**2) / math.sqrt(n)
        name = MODELS[key].partition(",")[0]
        yield Row(f"right only in {name}", str(gained), len(difference["flips"]["gained"]))
        yield Row("right only in CLIP", str(lost), len(difference["flips"]["lost"]))
        yield Row(f"{name} minus CLIP, points", f"{100 * change:.3f}", 100 * difference["value"])
        yield Row("lower end of its interval", f"{100 * (change - margin):.2f}", 100 * difference["low"])
        yield Row("upper end of its interval", f"{100 * (change + margin):.2f}", 100 * difference["high"])
        if difference["p_value"] > 0:  # smaller than any float64 for DINOv2
            yield Row(
                "log10 of its p-value", f"{log10_of_exact_p(gained, lost):.6f}", math.log10(difference["p_value"])
            )


def difference_in(file: Path) -> dict[str, Any]:
    """Return the difference of the accuracy that `clipbench compare --format json` wrote."""
    comparison = json.loads(file.read_text(encoding="utf-8"))["comparisons"][0]
    difference: dict[str, Any] = next(entry for entry in comparison["differences"] if entry["name"] == "acc1")
    return difference


def log10_of_exact_p(gained: int, lost: int) -> float:
    """Return the logarithm of McNemar's exact p-value: twice the smaller tail of the binomial, in integers."""
    n, term, tail = gained + lost, 1, 0
    for k in range(min(gained, lost) + 1):
        tail += term
        term = term * (n - k) // (k + 1)
    return math.log10(2 * tail) - n * math.log10(2)


# -- Mind the Gap: embeddings of its authors


def prepare_gap(paths: Mapping[str, Path], out: Path) -> None:
    for key in ("trained", "random"):
        images, texts = np.load(paths[key])
        write_vectors(out / key, images, texts)


def gap_rows(paths: Mapping[str, Path], out: Path) -> Iterator[Row]:
    run = clipbench.read_run(out / "runs/random")
    yield row_of(run, "retrieval@embeddings/text_retrieval_recall@1", "image to text, R@1, untrained", "0.0020")


def numpy_rows(paths: Mapping[str, Path], out: Path) -> Iterator[Row]:
    """Yield retrieval and gap of each array of vectors against plain numpy."""
    arrays = np.load(paths["winoground"])
    vectors = {
        "winoground": (arrays["img"], arrays["cap"]),
        **{key: np.load(paths[key]) for key in ("trained", "random")},
    }
    names = {"winoground": "Winoground", "trained": "500 COCO pairs", "random": "500 COCO pairs, untrained"}
    for key, (images, texts) in vectors.items():
        run = clipbench.read_run(out / "runs" / key)
        for metric, value in by_numpy(unit(images), unit(texts)).items():
            task, _, name = metric.partition("/")
            if key != "winoground" or task == "modality-gap@embeddings":  # its retrieval is published
                yield row_of(run, metric, f"{names[key]}: `{name}`", f"{value:.{3 if 'recall' in name else 5}f}")


def by_numpy(images: Float64[np.ndarray, "n dim"], texts: Float64[np.ndarray, "n dim"]) -> dict[str, float]:
    """Return metrics of pairs, text i with image i, from the whole matrix of cosines."""
    cosines = images @ texts.T
    ranks = {"text": ranks_of_pairs(cosines), "image": ranks_of_pairs(cosines.T)}
    n = len(images)
    return {
        **{
            f"retrieval@embeddings/{side}_retrieval_recall@{k}": float((ranks[side] <= k).mean())
            for side in ("image", "text")
            for k in (1, 5, 10)
        },
        "modality-gap@embeddings/gap": float(np.linalg.norm(images.mean(axis=0) - texts.mean(axis=0))),
        "modality-gap@embeddings/image_cone": float(((images @ images.T).sum() - n) / (n * (n - 1))),
        "modality-gap@embeddings/text_cone": float(((texts @ texts.T).sum() - n) / (n * (n - 1))),
        "modality-gap@embeddings/pair_cosine": float(np.diagonal(cosines).mean()),
    }


def ranks_of_pairs(cosines: Float64[np.ndarray, "n n"]) -> Int64[np.ndarray, " n"]:
    """Return the place of each row's partner among the columns, from 1."""
    return 1 + (cosines > np.diagonal(cosines)[:, None]).sum(axis=1)


def unit(vectors: np.ndarray) -> Float64[np.ndarray, "n dim"]:
    vectors = vectors.astype(np.float64)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


# -- typographic attacks: probabilities of an article


PROBES = {"zero_shot_statistics": "zero-shot", "linear_probe_statistics": "linear-probe"}


def prepare_typographic(paths: Mapping[str, Path], out: Path) -> None:
    table = json.loads(paths["typographic"].read_text(encoding="utf-8"))
    answers: dict[str, list[tuple[str, str, str]]] = {name: [] for name in PROBES.values()}
    for object_name, photographs in table.items():
        for word, statistics in photographs.items():
            if word in ("blank", object_name):  # blank paper, and the object's own name: no attack
                continue
            for key, name in PROBES.items():
                answer = max(statistics[key])[1]
                answers[name].append((f"{object_name}-{word}", CLASS_OF_WORD.get(word, word), answer))
    classes = sorted({name for rows in answers.values() for row in rows for name in row[1:]})
    (out / "classes.txt").write_text("\n".join(classes), encoding="utf-8")
    for name, rows in answers.items():
        write_predictions(out / f"{name}.csv", rows)


CLASS_OF_WORD = {"ipod": "iPod"}
"""Words of the labels whose class is written otherwise."""


def typographic_rows(paths: Mapping[str, Path], out: Path) -> Iterator[Row]:
    """Yield how many of the attacks succeed: the word is the most probable class."""
    for name, published in (("zero-shot", "25"), ("linear-probe", "0")):
        metric = clipbench.read_run(out / "runs" / name).metrics[ACC1]
        assert metric.value is not None and metric.low is not None and metric.high is not None
        n = metric.n
        yield Row(f"attacks that succeed, of {n}, {name}", published, metric.value * n, metric.low * n, metric.high * n)


# -- files and rows


ACC1 = "zero-shot@predictions/acc1"


def row_of(run: clipbench.Run, name: str, title: str, published: str) -> Row:
    """Return a metric of a run next to the published value."""
    metric = run.metrics[name]
    assert metric.value is not None, name
    return Row(title, published, metric.value, metric.low, metric.high)


def read_csv(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file, compressed or not."""
    content = path.read_bytes()
    text = (gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content).decode()
    return list(csv.DictReader(io.StringIO(text)))


def write_vectors(folder: Path, images: np.ndarray, texts: np.ndarray) -> Path:
    folder.mkdir(exist_ok=True)
    np.save(folder / "images.npy", images)
    np.save(folder / "texts.npy", texts)
    return folder


def write_predictions(path: Path, rows: Iterable[Sequence[str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("id", "label", "prediction"))
        writer.writerows(rows)


WINOGROUND_TASKS = "composition,retrieval,modality-gap"
SECTIONS = (
    Section(
        prepare_winoground,
        (f"clipbench run --model embeddings:winoground --tasks {WINOGROUND_TASKS} --out runs/winoground",),
        {"winoground": winoground_rows},
    ),
    Section(
        prepare_predictions,
        (
            *(
                f"clipbench run --model predictions:{key}.csv --tasks zero-shot --out runs/{key}"
                for key in (*MODELS, "cue-conflict")
            ),
            "clipbench compare runs/clip runs/resnet50 --format json --out resnet50.json",
            "clipbench compare runs/clip runs/dinov2 --format json --out dinov2.json",
        ),
        {"imagenet": imagenet_rows, "paired": paired_rows},
    ),
    Section(
        prepare_gap,
        tuple(
            f"clipbench run --model embeddings:{key} --tasks retrieval,modality-gap --out runs/{key}"
            for key in ("trained", "random")
        ),
        {"gap": gap_rows, "numpy": numpy_rows},
    ),
    Section(
        prepare_typographic,
        tuple(
            f"clipbench run --model predictions:{name}.csv --model-option classes=classes.txt --tasks zero-shot"
            f" --out runs/{name}"
            for name in PROBES.values()
        ),
        {"typographic": typographic_rows},
    ),
)


# -- the page

PARITY_PAGE = "[Parity](parity.md) has its values."
NO_PARITY_PAGE = "No run of it has loaded true weights yet, so it has no page."


def page(tables: Mapping[str, Sequence[Row]], *, has_parity: bool) -> str:
    """Return the page: the template with its tables, commands and sources."""
    parts = {name: "\n".join(row.line() for row in rows) for name, rows in tables.items()}
    parts |= {
        f"commands {next(iter(section.rows))}": "\n".join(f"$ {line}" for line in section.commands)
        for section in SECTIONS
    }
    for key, source in SOURCES.items():
        parts[f"at {key}"] = f"https://github.com/{source.repository}/blob/{source.commit}"
        parts[f"source {key}"] = (
            f"Source: [{source.path}]({source.page}), {source.repository} at {source.commit[:8]},"
            f" licence: {source.licence}."
        )
    parts["sources"] = "\n".join(source_lines())
    parts["parity"] = PARITY_PAGE if has_parity else NO_PARITY_PAGE
    parts |= {f"n {name}": str(len(rows)) for name, rows in tables.items()}
    parts["n published"], parts["n computed"] = map(str, counts_of(tables))
    return re.sub(r"\{\{(.+?)\}\}", lambda match: parts[match[1]], TEMPLATE.read_text(encoding="utf-8"))


def source_lines() -> Iterator[str]:
    """Yield a row of the page for each source."""
    for source in SOURCES.values():
        link = f"[{source.name}]({source.page})"
        yield f"| {link} | {source.repository} | `{source.commit[:8]}` | {source.licence} | `{source.sha256[:12]}` |"


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
