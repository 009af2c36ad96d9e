"""``import clipbench as cb``: models and data in memory become runs, as the command makes them."""

import gc
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

import clipbench as cb
from clipbench.testing import ToyModel

COLOURS = {"red": (230, 20, 20), "green": (20, 160, 40), "blue": (20, 30, 220), "yellow": (240, 220, 30)}
RECALL = "image_retrieval_recall@1"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CLIPBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Colours:
    """Knows colours: an image is its mean colour, a text the colour that it names."""

    def encode_images(self, images: list[Image.Image]) -> np.ndarray:
        return np.stack([np.asarray(image, np.float32).reshape(-1, 3).mean(axis=0) - 100 for image in images])

    def encode_texts(self, texts: list[str]) -> np.ndarray:
        colours = [next((rgb for name, rgb in COLOURS.items() if name in text), (101, 102, 103)) for text in texts]
        return np.array(colours, np.float32) - 100


def cards() -> dict[str, Image.Image]:
    return {name: Image.new("RGB", (12, 12), rgb) for name, rgb in COLOURS.items()}


def pairs() -> list[tuple[Image.Image, str]]:
    return [(image, f"a {name} card") for name, image in cards().items()]


def encoded(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def value(run: cb.Run, metric: str) -> float:
    (result,) = [metrics.value for name, metrics in run.metrics.items() if name.endswith(f"/{metric}")]
    assert result is not None
    return result


def test_any_object_with_two_methods_is_measured_on_pairs() -> None:
    run = cb.run(Colours(), ["retrieval"], data=pairs())
    assert value(run, RECALL) == 1.0
    assert [record.name for record in run.result.evaluations] == ["retrieval@memory"]
    assert run.result.model["ref"] == "Colours"


def test_images_may_be_paths_images_arrays_or_bytes(tmp_path: Path) -> None:
    runs = []
    forms: dict[str, list[Any]] = {"image": list(cards().values()), "bytes": [], "array": [], "path": [], "text": []}
    for name, image in cards().items():
        image.save(tmp_path / f"{name}.png")
        forms["bytes"].append(encoded(image))
        forms["array"].append(np.asarray(image))
        forms["path"].append(tmp_path / f"{name}.png")
        forms["text"].append(str(tmp_path / f"{name}.png"))
    for images in forms.values():
        frame = pd.DataFrame({"image": images, "caption": [f"a {name} card" for name in COLOURS], "label": [*COLOURS]})
        runs.append(cb.run(Colours(), ["retrieval", "zero-shot"], data=frame))
    assert [value(run, RECALL) for run in runs] == [1.0] * 5
    assert [value(run, "acc1") for run in runs] == [1.0] * 5
    first = runs[3].result.evaluations[0]
    assert first.dataset.fingerprint == runs[4].result.evaluations[0].dataset.fingerprint


def test_a_hugging_face_data_set_is_measured() -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=[*COLOURS]), "caption": datasets.Value("string")}
    )
    rows = {"image": [*cards().values()], "label": [0, 1, 2, 3], "caption": [f"a {name} card" for name in COLOURS]}
    data = datasets.Dataset.from_dict(rows, features=features)
    assert value(cb.run(Colours(), "zero-shot", data=data), "acc1") == 1.0
    assert value(cb.run(Colours(), "retrieval", data=datasets.DatasetDict(test=data)), RECALL) == 1.0


def test_vectors_are_measured_as_an_embeddings_file_is(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images, owner = rng.standard_normal((6, 8), np.float32), np.array([0, 0, 1, 2, 3, 4, 5])
    texts = images[owner] + 0.1 * rng.standard_normal((7, 8), np.float32)
    np.savez(tmp_path / "vectors.npz", images=images, texts=texts, text_to_image=owner)
    file = cb.run(f"embeddings:{tmp_path / 'vectors.npz'}", ["retrieval", "modality-gap"])
    memory = cb.run(
        cb.vectors(images=torch.from_numpy(images), texts=texts.tolist(), text_to_image=owner),
        ["retrieval", "modality-gap"],
    )
    assert memory.metrics == file.metrics
    assert memory.result.model["fingerprint"] == file.result.model["fingerprint"]


class Singular:
    """Has the methods of a torch module's names, and is none."""

    def encode_image(self, images: list[Image.Image]) -> np.ndarray:
        return np.eye(len(images))

    encode_text = encode_image


class Net(nn.Module):
    """A small dual encoder that can be trained."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.image, self.text = nn.Linear(3 * 8 * 8, 16), nn.EmbeddingBag(256, 16)
        self.drop = nn.Dropout(0.5)
        self.logit_scale = nn.Parameter(torch.tensor(2.0))

    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.drop(self.image(pixels.flatten(1)))

    def encode_text(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.drop(self.text(tokens))


def preprocess(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.asarray(image.resize((8, 8)), np.float32).transpose(2, 0, 1) / 255 - 0.5)


def tokenizer(texts: Sequence[str]) -> torch.Tensor:
    return torch.tensor([[*text.encode()[:16].ljust(16)] for text in texts])


def train(net: Net, n_steps: int) -> None:
    optimiser = torch.optim.Adam(net.parameters(), lr=0.01)
    pixels = torch.stack([preprocess(image) for image, _ in pairs()])
    tokens = tokenizer([caption for _, caption in pairs()])
    net.eval()
    for _ in range(n_steps):
        logits = nn.functional.normalize(net.encode_image(pixels)) @ nn.functional.normalize(net.encode_text(tokens)).T
        loss = nn.functional.cross_entropy(10 * logits, torch.arange(4))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def test_tokens_of_another_tokenizer_are_named() -> None:
    net = Net()

    def large(texts: Sequence[str]) -> torch.Tensor:
        return tokenizer(texts) + 256

    message = (
        r"the text tower fails on what the tokenizer gives, tokens of shape \(\d, 16\) \(.*\): expected the tokenizer"
    )
    with pytest.raises(cb.ClipbenchError, match=message):
        cb.run(cb.torch_model(net, preprocess, large, logit_scale=10.0), ["retrieval"], data=pairs())


def test_a_torch_module_is_compared_with_its_own_later_state(own_cache: Path) -> None:
    net = Net()
    model = cb.torch_model(net, preprocess, tokenizer, logit_scale=net.logit_scale.exp())
    before = cb.run(model, ["retrieval", "modality-gap"], data=pairs())
    train(net, 60)
    net.train()
    after = cb.run(model, ["retrieval", "modality-gap"], data=pairs())
    assert value(before, RECALL) < value(after, RECALL) == 1.0
    assert before.result.model["fingerprint"] != after.result.model["fingerprint"]
    assert after.result.evaluations[0].encoded["stored_images"] == 0, "a vector of other weights was taken"
    assert not list((own_cache / "store").rglob("*.vectors")), "a module without a fingerprint was stored"
    assert before.result.model["ref"] == "Net"
    assert net.training and net.drop.training and net.image.weight.requires_grad
    comparison = cb.compare(before, after)
    assert (comparison.base, comparison.candidate) == ("Net #1", "Net #2")
    assert RECALL in {difference.name for difference in comparison.differences}


def test_scenes_and_references_are_measured_as_the_command_does(tmp_path: Path) -> None:
    run = cb.run("tiny", "all", suite="scenes", limit=16, out=tmp_path / "run", device="cpu", thumbnails=0)
    assert run.result.is_complete and len(run.result.evaluations) >= 6
    assert (tmp_path / "run/report.html").is_file()
    assert cb.read_run(str(tmp_path / "run")).metrics == run.metrics


def test_a_run_without_a_folder_is_gone_with_its_object() -> None:
    run = cb.run(Colours(), "retrieval", data=pairs())
    folder = run.folder
    assert (folder / "result.json").is_file()
    del run
    gc.collect()
    assert not folder.exists()


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> cb.Run:
    """A run with mistakes: a toy model on scenes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIPBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        return cb.run(ToyModel(), ["retrieval", "modality-gap", "zero-shot"], suite="scenes", limit=24)


def test_the_frame_has_each_metric_of_each_evaluation(measured: cb.Run) -> None:
    frame = measured.frame()
    assert [*frame.columns[:8]] == ["task", "metric", "value", "low", "high", "chance", "unit", "data"]
    names = frame["task"] + "@" + frame["data"] + "/" + frame["metric"]
    by_name = dict(zip(names, frame["value"].tolist(), strict=True))
    assert by_name.keys() == measured.metrics.keys()
    for name, metric in measured.metrics.items():
        assert by_name[name] == metric.value if metric.value is not None else np.isnan(by_name[name])


def test_samples_are_found_by_task_and_by_data(measured: cb.Run) -> None:
    record = measured.result.evaluations[0]
    for name in ("retrieval", "Retrieval", record.name, record):
        pd.testing.assert_frame_equal(measured.samples(name), measured.samples(record))
    with pytest.raises(cb.UsageError, match="no evaluation 'zero-shoot': did you mean 'zero-shot'"):
        measured.samples("zero-shoot")
    with pytest.raises(cb.UsageError, match="no evaluation 'retrieval@coco'"):
        measured.samples("retrieval@coco")


def test_failures_are_the_worst_first(measured: cb.Run) -> None:
    samples, failures = measured.samples("zero-shot"), measured.failures("zero-shot", n=5)
    wrong = samples[samples["margin"] <= 0]
    assert failures["cosine_margin"].tolist() == sorted(wrong["margin"])[:5]
    assert set(failures["sample_id"]) <= set(wrong["sample_id"])
    with pytest.raises(cb.ClipbenchError, match="no margin"):
        measured.failures("modality-gap")


def test_a_run_is_saved_once_and_reported(measured: cb.Run, tmp_path: Path) -> None:
    saved = measured.save(tmp_path / "mine")
    assert saved.metrics == measured.metrics == cb.read_run(str(tmp_path / "mine")).metrics
    assert saved.samples("retrieval").equals(measured.samples("retrieval"))
    with pytest.raises(cb.UsageError, match="never overwritten"):
        measured.save(str(tmp_path / "mine"))
    assert [path.name for path in tmp_path.iterdir()] == ["mine"], "no half of a copy is left"
    assert "<html" in measured.report(str(tmp_path / "report.html")).read_text()


def test_a_notebook_shows_the_scorecard_without_scripts() -> None:
    run = cb.run(cb.vectors(images=np.eye(3), texts=np.eye(3), name="<script>x</script>"), ["retrieval", "zero-shot"])
    html = run._repr_html_()
    assert "<table" in html and "retrieval@embeddings" in html and "zero-shot@embeddings unavailable" in html
    assert "<script" not in html and "&lt;script&gt;" in html


def test_results_print_a_table_and_show_it_in_a_notebook(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images, noise = rng.standard_normal((60, 8)), rng.standard_normal((60, 8))
    good, bad = (
        cb.run(cb.vectors(images=images, texts=images + size * noise, name=name), "retrieval")
        for name, size in (("<b>good</b>", 0.1), ("bad", 3.0))
    )
    for index, name in enumerate("ab"):
        Image.new("RGB", (8, 8), (0, 90 * index, 0)).save(tmp_path / f"{name}.png")
    pool = cb.pool(["tiny", "pair:tiny+tiny"], tmp_path, ["a red cube"], tmp_path / "pool", device="cpu")
    printed: dict[str, Any] = {
        "worse": cb.compare(good, bad),
        "not examined": cb.doctor(cb.vectors(images=images, texts=images)),
        "pair:tiny+tiny": cb.choose(pool),
    }
    for word, result in printed.items():
        lines, html = str(result).splitlines(), result._repr_html_()
        assert len(lines) > 3 and any(word in line for line in lines), word
        assert "<table" in html and word in html and "<b>good" not in html, word
    first, _, title, *_ = str(printed["worse"]).splitlines()
    assert first.startswith("verdict: worse (retrieval@embeddings/image_retrieval_recall@1 ")
    assert title == "bad against <b>good</b>"
    assert "\n<b>good</b> against bad (7 more metrics in frame())\n" in str(cb.compare(bad, good))


BAD: dict[str, tuple[Any, str]] = {
    "a bare torch module": (lambda: cb.run(Net(), data=pairs()), "wrap it .*torch_model"),  # type: ignore[arg-type]
    "methods of other names": (
        lambda: cb.run(Singular(), data=pairs()),  # type: ignore[arg-type]
        "with encode_image and encode_text: expected encode_images",
    ),
    "vectors for a task that encodes": (
        lambda: cb.run(cb.vectors(images=np.eye(3), texts=np.eye(3)), "text-in-image"),
        "text-in-image encodes images or texts that are not stored: it needs the model itself",
    ),
    "labels for retrieval": (
        lambda: cb.run(Colours(), "retrieval", data=pd.DataFrame({"image": [*cards().values()], "label": [*COLOURS]})),
        "needs captions, .*: give them in a column 'caption'",
    ),
    "arrays that do not pair up": (
        lambda: cb.run(cb.vectors(images=np.eye(3), texts=np.eye(3)[:2]), "retrieval"),
        "lacks text_to_image",
    ),
    "a cell that is no image": (lambda: cb.run(Colours(), data=[(3.5, "a")]), "an image is of type float"),
    "a file that is not there": (lambda: cb.run(Colours(), data=[("gone.png", "a")]), "no image file gone.png"),
    "bytes that are no image": (
        lambda: cb.run(Colours(), "retrieval", data=[(b"no image", "a"), (cards()["red"], "red")]),
        "cannot read image .*row 0: it is not an image",
    ),
    "data for vectors that have their own": (
        lambda: cb.run(cb.vectors(images=np.eye(3), texts=np.eye(3)), data="scenes"),
        "samples of its own: remove data",
    ),
    "a device for a model in memory": (lambda: cb.run(Colours(), data=pairs(), device="cpu"), "has no effect on"),
    "tasks that are no names": (
        lambda: cb.run(Colours(), None, data=pairs()),  # type: ignore[arg-type]
        "tasks: got None, expected a text or a list of texts",
    ),
    "a class": (lambda: cb.run(Colours, data=pairs()), r"got the class Colours: .* Colours\(\.\.\.\)"),  # type: ignore[arg-type]
    "a column twice": (
        lambda: cb.run(Colours(), data=pd.DataFrame([["a", "b", "c"]], columns=["image", "image", "caption"])),
        "has two columns of one name: image, image, caption",
    ),
    "an unknown option of data": (
        lambda: cb.run(Colours(), data=pairs(), data_options={"captions": "words"}),
        "has no option 'captions': did you mean 'caption'",
    ),
    "an unknown argument": (
        lambda: cb.run("tiny", dataset="scenes"),  # type: ignore[call-arg]
        r"^run\(\): no argument 'dataset': did you mean 'data' or 'data_root'\?$",
    ),
    "vectors without names": (
        lambda: cb.vectors(np.eye(3), np.eye(3)),  # type: ignore[call-arg]
        r"^vectors\(\): too many positional arguments. Expected vectors\(images=..., texts=..., items=..., ...\)$",
    ),
    "a comparison of one run": (
        lambda: cb.compare("a"),  # type: ignore[call-arg]
        r"^compare\(\): missing .* 'candidate'. Expected compare\(base=..., candidate=..., max_drop=..., ...\)$",
    ),
    "a text for a number": (
        lambda: cb.compare("a", "b", alpha="x"),  # type: ignore[arg-type]
        r"^compare\(\): alpha: got 'x', expected a number$",
    ),
    "a text for a dictionary": (
        lambda: cb.load_data("scenes", data_options="n=4"),  # type: ignore[arg-type]
        r"^load_data\(\): data_options: got 'n=4', expected a dictionary of texts or None$",
    ),
    "a number for a path": (
        lambda: cb.read_run(5),  # type: ignore[arg-type]
        r"^read_run\(\): path: got 5, expected a text or a path$",
    ),
    "a pool of something else": (
        lambda: cb.choose(5),  # type: ignore[arg-type]
        r"^choose\(\): pool: got 5, expected a Pool or a text or a path$",
    ),
    "a number for a tracker": (
        lambda: cb.run("tiny", log=5),  # type: ignore[arg-type]
        r"^run\(\): log: got 5, expected a text or a list of texts$",
    ),
    "a number among trackers": (
        lambda: cb.run("tiny", log=["wandb", 5]),  # type: ignore[list-item]
        r"^run\(\): log: got \['wandb', 5\], expected a text or a list of texts$",
    ),
    "a number among runs": (
        lambda: cb.across("a", 5, x="gap", y="acc1"),  # type: ignore[arg-type]
        r"^across\(\): runs: got 5, expected a Run or a text or a path$",
    ),
    "a comparison of something else": (
        lambda: cb.compare(1, 2),  # type: ignore[arg-type]
        r"^compare\(\): base: got 1, expected a Run or a Values or a text or a path$",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_that_says_what_to_do(case: str) -> None:
    act, text = BAD[case]
    with pytest.raises(cb.ClipbenchError, match=text) as raised:
        act()
    assert "\n" not in str(raised.value)


class Undefined(Colours):
    """Its vectors are no numbers until it has been put right."""

    is_right = False

    def encode_texts(self, texts: list[str]) -> np.ndarray:
        return super().encode_texts(texts) * (1 if self.is_right else np.nan)


def test_a_run_without_a_number_raises_what_was_wrong_and_leaves_nothing_behind(tmp_path: Path) -> None:
    model, out = Undefined(), tmp_path / "out"
    with pytest.raises(cb.VectorError, match=r"retrieval@memory could not be measured: .*not finite"):
        cb.run(model, "retrieval", data=pairs(), out=out, preflight=False)
    assert not out.exists()
    model.is_right = True
    cb.run(model, "retrieval", data=pairs(), out=out, preflight=False)
    assert (out / "result.json").is_file()


def test_numbers_of_numpy_are_numbers() -> None:
    options: dict[str, Any] = {
        "limit": np.uint8(3),
        "seed": np.int64(1),
        "batch_size": np.int32(2),
        "workers": np.int64(0),
    }
    run = cb.run(Colours(), "retrieval", data=pairs(), **options)
    assert (run.result.seed, run.result.evaluations[0].dataset.n_samples) == (1, 3)


def test_the_doctor_measures_what_a_run_measures_on_data_in_memory() -> None:
    frame = pd.DataFrame({"picture": [*cards().values()], "label": [*COLOURS]})
    options = {"image": "picture"}
    metric = "text-in-image/clean_acc"
    report = cb.doctor(Colours(), data=frame, data_options=options, metric=metric, expect=50)
    run = cb.run(Colours(), "text-in-image", data=frame, data_options=options)
    assert report.explanation is not None and report.explanation.metric.value == value(run, "clean_acc")
