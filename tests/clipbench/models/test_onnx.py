"""ONNX towers: vectors equal to those of the model that they were exported from, and graphs of other inputs refused."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
import torch
import transformers
from PIL import Image

from clipbench.errors import ModelError, VectorError
from clipbench.models import load_model
from clipbench.models.adapters.onnx import load
from clipbench.models.options import LoadOptions
from clipbench.models.protocol import Model
from tests.clipbench.models import small_models
from tests.clipbench.models.small_models import same

onnx = pytest.importorskip("onnx", reason="graphs are written with the package onnx")
pytest.importorskip("onnxruntime", reason="the adapter computes with onnxruntime")

SIDE, LENGTH, WORDS, DIM = 4, 8, 8, 5
RNG = np.random.default_rng(0)
PIXEL_WEIGHTS = RNG.standard_normal((3 * SIDE * SIDE, DIM)).astype(np.float32)
WORD_VECTORS = RNG.standard_normal((WORDS, DIM)).astype(np.float32)
TEXTS = ["a cat", "a photo of a dog", "", "dog " * 40]


def write_graph(path: Path, nodes: list[Any], inputs: dict[str, Any], weights: dict[str, np.ndarray], out: str) -> Path:
    """Write a graph of one output of rows; ``inputs`` are (type, shape) by name."""
    helper = onnx.helper
    graph = helper.make_graph(
        nodes,
        "tower",
        [helper.make_tensor_value_info(name, *one_input) for name, one_input in inputs.items()],
        [helper.make_tensor_value_info(out, onnx.TensorProto.FLOAT, ["n", DIM])],
        [onnx.numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def image_graph(path: Path, *, batch: int | str = "n", out: str = "image_embeds") -> Path:
    """Write a tower that multiplies pixels by ``PIXEL_WEIGHTS``."""
    nodes = [
        onnx.helper.make_node("Flatten", ["pixels"], ["flat"]),
        onnx.helper.make_node("MatMul", ["flat", "weights"], [out]),
    ]
    shape = (onnx.TensorProto.FLOAT, [batch, 3, SIDE, SIDE])
    return write_graph(path, nodes, {"pixels": shape}, {"weights": PIXEL_WEIGHTS}, out)


def text_graph(path: Path, *, batch: int | str = "n", dim: int = DIM, integers: int | None = None) -> Path:
    """Write a tower that adds up the vectors of a text's tokens."""
    nodes = [
        onnx.helper.make_node("Gather", ["words", "ids"], ["found"]),
        onnx.helper.make_node("ReduceSum", ["found", "axis"], ["text_embeds"], keepdims=0),
    ]
    shape = (onnx.TensorProto.INT64 if integers is None else integers, [batch, LENGTH])
    weights = {"words": WORD_VECTORS[:, :dim], "axis": np.array([1])}
    return write_graph(path, nodes, {"ids": shape}, weights, "text_embeds")


def write_inputs(folder: Path) -> Path:
    """Write the files of a processor, as open_clip has it, and of a tokenizer of words."""
    config = {"size": SIDE, "mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "squash"}
    (folder / "preprocess_cfg.json").write_text(json.dumps(config))
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "cat", "dog", "photo"]
    model = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({word: row for row, word in enumerate(words)}, unk_token="[UNK]")
    )
    model.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    model.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=model, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )
    fast.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two towers of a line each, with their inputs."""
    folder = tmp_path_factory.mktemp("onnx")
    image_graph(folder / "vision_model.onnx")
    text_graph(folder / "text_model.onnx")
    return write_inputs(folder)


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    """A folder to change."""
    return Path(shutil.copytree(whole, tmp_path / "copy"))


def expected_images(images: Sequence[Image.Image]) -> np.ndarray:
    # open_clip resizes an image in its own mode, and only then makes it RGB
    small = [image.resize((SIDE, SIDE), Image.Resampling.BICUBIC).convert("RGB") for image in images]
    pixels = np.stack([np.asarray(image, np.float32).transpose(2, 0, 1) / 255 for image in small])
    return ((pixels - 0.5) / 0.5).reshape(len(images), -1) @ PIXEL_WEIGHTS


def expected_texts(texts: Sequence[str]) -> np.ndarray:
    token_ids = {"a": 4, "cat": 5, "dog": 6, "photo": 7}
    rows = []
    for text in texts:
        ids = [2, *[token_ids.get(word, 1) for word in text.split()][: LENGTH - 2], 3]
        rows.append(WORD_VECTORS[ids + [0] * (LENGTH - len(ids))].sum(axis=0))
    return np.array(rows)


# ----- the vectors


def test_vectors_are_those_of_the_graphs_fed_by_the_files_beside_them(whole: Path) -> None:
    model = load(str(whole), LoadOptions(batch_size=3))

    assert isinstance(model, Model) and model.preprocess is not None
    same(model.encode_images(small_models.images()), expected_images(small_models.images()))
    same(model.encode_texts(TEXTS), expected_texts(TEXTS))
    assert model.encode_texts([]).shape == model.encode_images([]).shape == (0, DIM)
    assert model.count_tokens(TEXTS).tolist() == [4, 7, 2, 42]
    assert (model.info.embed_dim, model.info.context_length, model.info.image_size) == (DIM, LENGTH, SIDE)
    assert model.info.logit_scale is None and model.info.notes == ()


def test_graphs_of_a_fixed_batch_are_filled_up(copy: Path) -> None:
    image_graph(copy / "vision_model.onnx", batch=2)
    text_graph(copy / "text_model.onnx", batch=4)
    model = load(str(copy), LoadOptions())

    same(model.encode_images(small_models.images()), expected_images(small_models.images()))
    same(model.encode_texts(TEXTS[:3]), expected_texts(TEXTS[:3]))


def test_ids_are_given_in_the_type_that_the_graph_takes(copy: Path) -> None:
    text_graph(copy / "text_model.onnx", integers=onnx.TensorProto.INT32)

    same(load(str(copy), LoadOptions()).encode_texts(TEXTS), expected_texts(TEXTS))


@pytest.mark.parametrize("layout", ["onnx/{}_model.onnx", "{}/model.onnx"])
def test_the_layouts_of_exporters_are_found(copy: Path, layout: str) -> None:
    names = {"vision_model": "vision", "text_model": "text"}
    if layout.startswith("{"):
        names = {"vision_model": "visual", "text_model": "textual"}
    for old, new in names.items():
        place = copy / layout.format(new)
        place.parent.mkdir(exist_ok=True)
        (copy / f"{old}.onnx").rename(place)

    same(load(str(copy), LoadOptions()).encode_texts(TEXTS), expected_texts(TEXTS))


def test_a_variant_is_another_model(copy: Path) -> None:
    plain = load(str(copy), LoadOptions()).info
    for tower in ("vision_model", "text_model"):
        shutil.copy(copy / f"{tower}.onnx", copy / f"{tower}_fp16.onnx")
    image_graph(copy / "vision_model_fp16.onnx", out="vectors")

    variant = load(str(copy), LoadOptions(options={"variant": "fp16", "logit_scale": "50", "logit_bias": "-1"})).info

    assert variant.fingerprint != plain.fingerprint and variant.id.endswith("variant=fp16")
    assert (variant.logit_scale, variant.logit_bias) == (50, -1)


def test_one_tower_is_lent(copy: Path) -> None:
    (copy / "text_model.onnx").unlink()
    model = load(str(copy), LoadOptions(towers=["images"]))

    same(model.encode_images(small_models.images()), expected_images(small_models.images()))


def test_a_vector_that_depends_on_its_batch_is_said(copy: Path) -> None:
    nodes = [
        onnx.helper.make_node("Flatten", ["pixels"], ["flat"]),
        onnx.helper.make_node("MatMul", ["flat", "weights"], ["each"]),
        onnx.helper.make_node("ReduceMax", ["each"], ["largest"], keepdims=1),  # of the whole batch
        onnx.helper.make_node("Add", ["each", "largest"], ["image_embeds"]),
    ]
    shape = (onnx.TensorProto.FLOAT, ["n", 3, SIDE, SIDE])
    write_graph(copy / "vision_model.onnx", nodes, {"pixels": shape}, {"weights": PIXEL_WEIGHTS}, "image_embeds")

    (note,) = load(str(copy), LoadOptions()).info.notes

    assert "changes by up to" in note and "Compare only runs with the same batch size" in note


def test_files_of_weights_beside_the_graph_are_part_of_the_fingerprint(copy: Path) -> None:
    before = load(str(copy), LoadOptions()).info.fingerprint
    (copy / "vision_model.onnx_data").write_bytes(b"weights")

    assert load(str(copy), LoadOptions()).info.fingerprint != before


# ----- what is refused


def other_inputs(folder: Path) -> None:
    nodes = [onnx.helper.make_node("Add", ["pixels", "more"], ["image_embeds"])]
    rows = (onnx.TensorProto.FLOAT, ["n", DIM])
    write_graph(folder / "vision_model.onnx", nodes, {"pixels": rows, "more": rows}, {}, "image_embeds")


def two_outputs(folder: Path) -> None:
    model = onnx.load(image_graph(folder / "vision_model.onnx", out="first"))
    model.graph.node.append(onnx.helper.make_node("Identity", ["first"], ["second"]))
    model.graph.output.append(onnx.helper.make_tensor_value_info("second", onnx.TensorProto.FLOAT, ["n", DIM]))
    onnx.save(model, folder / "vision_model.onnx")


def not_a_number(folder: Path) -> None:
    shape = (onnx.TensorProto.FLOAT, ["n", 3, SIDE, SIDE])
    nodes = [
        onnx.helper.make_node("Flatten", ["pixels"], ["flat"]),
        onnx.helper.make_node("MatMul", ["flat", "weights"], ["image_embeds"]),
    ]
    write_graph(
        folder / "vision_model.onnx", nodes, {"pixels": shape}, {"weights": PIXEL_WEIGHTS * np.nan}, "image_embeds"
    )


def with_settings(name: str, **settings: object) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        path = folder / name
        path.write_text(json.dumps({**(json.loads(path.read_text()) if path.exists() else {}), **settings}))

    return write


def with_open_clip(**settings: object) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "preprocess_cfg.json").rename(folder / "open_clip_config.json")
        (folder / "open_clip_config.json").write_text(json.dumps(settings))

    return write


def without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def two_processors(folder: Path) -> None:
    """The file of a whole processor counts, and its mean is no number."""
    images = transformers.CLIPImageProcessor().to_dict()
    (folder / "preprocessor_config.json").write_text(json.dumps(images, default=str))
    broken = {"image_processor": {**images, "image_mean": "grey"}}
    (folder / "processor_config.json").write_text(json.dumps(broken, default=str))


def without_tokenizer(folder: Path) -> None:
    for path in folder.glob("*token*.json"):
        path.unlink()


WHITE = Image.new("RGB", (9, 5), "white")


def test_images_are_prepared_by_a_whole_processor_of_transformers(copy: Path) -> None:
    (copy / "processor_config.json").write_text(json.dumps({"processor_class": "CLIPProcessor"}))
    by_open_clip = load(str(copy), LoadOptions())  # since this file says nothing of images
    size = {"height": SIDE, "width": SIDE}
    images = transformers.CLIPImageProcessor(size=size, do_center_crop=False, image_mean=[0.5] * 3, image_std=[0.5] * 3)
    (copy / "preprocess_cfg.json").unlink()
    (copy / "processor_config.json").write_text(json.dumps({"image_processor": images.to_dict()}, default=str))
    same(load(str(copy), LoadOptions()).encode_images([WHITE]), by_open_clip.encode_images([WHITE]))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (other_inputs, r"takes pixels tensor\(float\)\['n', 5\], more .*: expected only pixels"),
        (lambda folder: image_graph(folder / "text_model.onnx"), r"takes pixels .*: expected token ids, integers of shape"),
        (two_outputs, "gives first .*second .*: expected one output with one vector per row. Select it with model_options={'image_output"),
        (lambda folder: text_graph(folder / "text_model.onnx", dim=3), r"different dimensions \(images 5, texts 3\)"),
        (lambda folder: (folder / "text_model.onnx").write_bytes(b"\0" * 64), "onnxruntime cannot read .*text_model.onnx"),
        (without("vision_model.onnx"), "has no graph of images: expected vision_model.onnx .*files: text_model.onnx"),
        (without("preprocess_cfg.json"), "does not define how images are preprocessed: expected processor_config.json or preproc"),
        (two_processors, r"/processor_config\.json cannot be used"),
        (without_tokenizer, "has no tokenizer: expected tokenizer.json"),
        (with_open_clip(model_cfg=None, preprocess_cfg=None), "does not accept the inputs of its processor"),
        (with_open_clip(model_cfg={"vision_cfg": None}, preprocess_cfg=[1]), r"has preprocess_cfg = \[1\]: expected an object"),
        (with_settings("config.json", text_cfg={"tokenizer_kwargs": [1]}), r"has tokenizer_kwargs = \[1\]: expected an"),
        (with_settings("config.json", text_cfg={"tokenizer_kwargs": {"clean": "nothing"}}), "has clean = 'nothing': expected canon"),
    ],
)  # fmt: skip
def test_a_folder_that_does_not_fit_is_refused(copy: Path, damage: Callable[[Path], object], message: str) -> None:
    damage(copy)

    with pytest.raises(ModelError, match=message) as caught:
        load(str(copy), LoadOptions())
    assert "\n" not in str(caught.value)


def test_a_vector_that_is_no_number_is_not_taken_for_quantisation(copy: Path) -> None:
    not_a_number(copy)
    with pytest.raises(VectorError, match=r"vision_model\.onnx gave a vector that is zero or not finite for a fixed"):
        load(str(copy), LoadOptions())


def test_parts_that_are_null_are_none(copy: Path) -> None:
    with_settings("config.json", text_cfg={"tokenizer_kwargs": None}, model_type=None)(copy)
    assert load(str(copy), LoadOptions()).info.embed_dim == DIM


def test_code_beside_the_files_is_not_run(copy: Path, tmp_path: Path) -> None:
    trace = tmp_path / "ran"
    (copy / "evil.py").write_text(f"open({str(trace)!r}, 'w')\nclass Evil: pass\n")
    settings = {"auto_map": {"AutoTokenizer": ["evil.Evil", None]}, "tokenizer_class": "Evil"}
    small_models.change_json(copy / "tokenizer_config.json", **settings)

    with pytest.raises(ModelError):
        load(str(copy), LoadOptions())
    assert not trace.exists()


# ----- against the libraries


class Tower(torch.nn.Module):
    """One method of a model as a module that can be exported."""

    def __init__(self, encode: Callable[[torch.Tensor], Any], model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model
        self.encode = encode

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        vectors = self.encode(inputs)
        return vectors if isinstance(vectors, torch.Tensor) else vectors.pooler_output


@pytest.mark.filterwarnings("ignore")  # the exporter warns about itself
def export(folder: Path, model: Any, encode: tuple[str, str], pixels: torch.Tensor, ids: torch.Tensor) -> Path:
    """Export both towers of a model for any number of rows."""
    folder.mkdir(exist_ok=True)
    graphs = zip(("vision_model.onnx", "text_model.onnx"), encode, (pixels, ids), strict=True)
    for name, method, example in graphs:
        torch.onnx.export(
            Tower(getattr(model, method), model).eval(),
            (example,),
            folder / name,
            input_names=["inputs"],
            output_names=["vectors"],
            dynamic_axes={"inputs": {0: "n"}},
            dynamo=False,
        )
    return folder


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_an_export_gives_the_vectors_of_its_model(small_clip_folder: Path, tmp_path: Path) -> None:
    import open_clip

    clip = tmp_path / "clip"
    shutil.copytree(small_clip_folder, clip)
    export(clip, open_clip.create_model(f"local-dir:{clip}"), ("encode_image", "encode_text"), torch.zeros(2, 3, 32, 32), torch.ones(2, 77, dtype=torch.long))  # fmt: skip
    texts = [*small_models.TEXTS, "😀 🐈 a café", "A PHOTO of a Cat"]
    images = [image.convert("RGB") for image in small_models.images()]  # the libraries differ in palettes
    theirs = load_model(f"local-dir:{clip}", LoadOptions(device="cpu"))
    ours = load(str(clip), LoadOptions(batch_size=4))
    assert isinstance(theirs, Model)
    same(ours.encode_images(images), theirs.encode_images(images))
    same(ours.encode_texts(texts), theirs.encode_texts(texts))
    assert ours.count_tokens(texts).tolist() == theirs.count_tokens(texts).tolist()
