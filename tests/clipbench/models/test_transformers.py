"""transformers models: vectors equal to the library's own calls, fed as each family was trained."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from clipbench.data import DataOptions
from clipbench.data.memory import dataset_in_memory
from clipbench.data.modalities import IMAGE
from clipbench.errors import ModelError
from clipbench.models.adapters.transformers import load
from clipbench.models.encoding.embedder import StoreEmbedder
from clipbench.models.options import LoadOptions
from clipbench.models.protocol import Model
from tests.clipbench.models import small_models
from tests.clipbench.models.small_models import same

SHAPE = {"num_hidden_layers": 2, "num_attention_heads": 2}
CLIP_VISION = {"hidden_size": 64, "intermediate_size": 256, "image_size": 32, "patch_size": 8, **SHAPE}
SIGLIP_TEXT = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "vocab_size": 300,
    "max_position_embeddings": 16,
    "pad_token_id": 1,
    "eos_token_id": 1,
    "bos_token_id": None,
    **SHAPE,
}
SIGLIP_VISION = {"hidden_size": 32, "intermediate_size": 64, "image_size": 32, "patch_size": 8, **SHAPE}


def save_clip(folder: Path, **text: object) -> Path:
    return Path(small_models.transformers_clip(folder, **text))


def clip_processor() -> Any:
    return transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})


def save_siglip(folder: Path) -> Path:
    config = transformers.SiglipConfig(text_config=SIGLIP_TEXT, vision_config=SIGLIP_VISION)
    processor = transformers.SiglipImageProcessor(size={"height": 32, "width": 32})
    return save(folder, transformers.SiglipModel(config), small_models.siglip_tokenizer, processor)


def save_siglip2_of_fixed_size(folder: Path) -> Path:
    """SigLIP 2 as the Hub has it in fixed resolutions: SigLIP's architecture, Gemma's tokenizer."""
    save_siglip(folder)
    (folder / "spiece.model").unlink()
    small_models.gemma_tokenizer(folder)
    return folder


def save_siglip2_naflex(folder: Path) -> Path:
    vision = {key: value for key, value in SIGLIP_VISION.items() if key != "image_size"}
    config = transformers.Siglip2Config(text_config=SIGLIP_TEXT, vision_config={**vision, "num_patches": 16})
    processor = transformers.Siglip2ImageProcessor(patch_size=8, max_num_patches=16)
    return save(folder, transformers.Siglip2Model(config), small_models.gemma_tokenizer, processor)


def save(folder: Path, model: Any, tokenizer: Callable[[Path], Path], processor: Any) -> Path:
    """Write a model with seeded weights and scalars that are not at their initial values."""
    small_models.randomize(model)
    model.logit_scale.data.fill_(4.0)
    if hasattr(model, "logit_bias"):
        model.logit_bias.data.fill_(-12.5)
    model.save_pretrained(folder)
    tokenizer(folder)
    processor.save_pretrained(folder)
    return folder


SAVERS = {
    "CLIP": save_clip,
    "SigLIP": save_siglip,
    "SigLIP 2": save_siglip2_of_fixed_size,
    "SigLIP 2 NaFlex": save_siglip2_naflex,
}


@pytest.fixture(scope="module", params=SAVERS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of each family, with random weights."""
    return SAVERS[request.param](tmp_path_factory.mktemp("transformers"))


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_clip(tmp_path_factory.mktemp("transformers"))


@pytest.fixture
def clip_copy(clip_folder: Path, tmp_path: Path) -> Path:
    """A folder to damage."""
    return Path(shutil.copytree(clip_folder, tmp_path / "copy"))


def library_texts(folder: Path, texts: list[str]) -> np.ndarray:
    """Return what the library gives, one lower-case text at a time, padded to the full length, without a mask."""
    model, tokenizer = transformers.AutoModel.from_pretrained(folder).eval(), transformers.AutoTokenizer.from_pretrained(folder)  # fmt: skip
    length = model.config.text_config.max_position_embeddings
    with torch.no_grad():
        return np.concatenate(
            [
                model.get_text_features(
                    input_ids=tokenizer(
                        [text.lower()], padding="max_length", truncation=True, max_length=length, return_tensors="pt"
                    ).input_ids
                ).pooler_output.numpy()
                for text in texts
            ]
        )


def library_images(folder: Path, images: list[Any]) -> np.ndarray:
    model = transformers.AutoModel.from_pretrained(folder).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    inputs = [processor(images=[image.convert("RGB")], return_tensors="pt") for image in images]
    with torch.no_grad():
        return np.concatenate([model.get_image_features(**one_input).pooler_output.numpy() for one_input in inputs])


# ----- the vectors


def test_texts_get_the_vectors_that_the_library_gives(folder: Path) -> None:
    texts = list(small_models.TEXTS)

    same(load(str(folder), LoadOptions(batch_size=4)).encode_texts(texts), library_texts(folder, texts))


def test_images_get_the_vectors_that_the_library_gives(folder: Path) -> None:
    images = small_models.images()

    same(load(str(folder), LoadOptions(batch_size=4)).encode_images(images), library_images(folder, images))


def test_another_dual_encoder_gets_what_its_tokenizer_gives(tmp_path: Path) -> None:
    small = {"hidden_size": 32, "intermediate_size": 64, "max_position_embeddings": 12, **SHAPE}
    config = transformers.ChineseCLIPConfig(
        text_config={**small, "vocab_size": 60}, vision_config=CLIP_VISION, projection_dim=24
    )
    words = sorted({word for text in small_models.CORPUS for word in text.replace(",", "").replace(":", "").split()})
    vocabulary = {word: row for row, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words])}
    save(tmp_path, transformers.ChineseCLIPModel(config), transformers.BertTokenizer(vocab=vocabulary).save_pretrained, clip_processor())  # fmt: skip
    theirs = transformers.AutoModel.from_pretrained(tmp_path).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    texts = list(small_models.TEXTS)
    inputs = tokenizer(texts, padding=True, truncation=True, max_length=12, return_tensors="pt")
    with torch.no_grad():
        expected = theirs.get_text_features(**inputs).pooler_output.numpy()

    model = load(str(tmp_path), LoadOptions(batch_size=2))

    same(model.encode_texts(texts), expected)
    same(model.encode_images(small_models.images()), library_images(tmp_path, small_models.images()))
    assert (model.info.family, model.info.context_length) == ("transformers/ChineseCLIP", 12)


def test_old_clip_configurations_pool_at_the_largest_id(tmp_path: Path) -> None:
    folder = save_clip(tmp_path, eos_token_id=2)
    texts = list(small_models.TEXTS)

    same(load(str(folder), LoadOptions(batch_size=2)).encode_texts(texts), library_texts(folder, texts))


def test_capitals_are_lowered_where_the_tokenizer_leaves_them(tmp_path: Path) -> None:
    folder = save_siglip2_of_fixed_size(tmp_path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    assert tokenizer("A CAT").input_ids != tokenizer("a cat").input_ids, "the library has mended it: drop our rule"

    model = load(str(folder), LoadOptions())

    same(model.encode_texts(["A CAT"]), model.encode_texts(["a cat"]))
    assert "texts are lower-cased" in model.info.notes[0]


def test_pixels_can_be_prepared_elsewhere(folder: Path) -> None:
    model = load(str(folder), LoadOptions(batch_size=4))
    images = small_models.images()

    assert isinstance(model, Model) and model.preprocess is not None
    prepare: Any = pickle.loads(pickle.dumps(model.preprocess))
    assert len(pickle.dumps(prepare)) < 10_000
    each = [prepare(image) for image in images]
    pixels: Any = np.stack(each)
    if isinstance(each[0], dict):
        assert list(each[0]) == ["pixel_values", "pixel_attention_mask", "spatial_shapes"]
        pixels = {name: np.stack([arrays[name] for arrays in each]) for name in each[0]}
    np.testing.assert_array_equal(model.encode(IMAGE, pixels), model.encode_images(images))


def test_worker_processes_prepare_several_arrays_an_image(tmp_path: Path) -> None:
    model = load(str(save_siglip2_naflex(tmp_path / "model")), LoadOptions(batch_size=2))
    images = [image.convert("RGB") for image in small_models.images()]
    data = dataset_in_memory([(image, "a cat") for image in images], DataOptions())
    embedder = StoreEmbedder(model, tmp_path / "store", batch_size=2, workers=1)

    result = embedder.images(data.images)

    same(result, library_images(tmp_path / "model", images))


# ----- what is known of the model


def test_weights_saved_in_half_precision_are_computed_in_full(clip_copy: Path) -> None:
    state = {name: value.half() for name, value in load_file(clip_copy / "model.safetensors").items()}
    save_file(state, clip_copy / "model.safetensors", {"format": "pt"})
    small_models.change_json(clip_copy / "config.json", dtype="float16")
    model = transformers.AutoModel.from_pretrained(clip_copy, dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(clip_copy)
    with torch.no_grad():
        theirs = model.get_text_features(**tokenizer(["a photo of a cat"], return_tensors="pt")).pooler_output.numpy()

    same(load(str(clip_copy), LoadOptions()).encode_texts(["a photo of a cat"]), theirs)


def test_the_fingerprint_tells_preprocessing_and_activation_but_not_the_place(
    clip_folder: Path, clip_copy: Path
) -> None:
    def fingerprint(folder: Path) -> str:
        return load(str(folder), LoadOptions()).info.fingerprint

    first = fingerprint(clip_folder)
    assert fingerprint(clip_copy) == first
    config = json.loads((clip_copy / "config.json").read_text())
    config["text_config"]["hidden_act"] = "gelu"
    (clip_copy / "config.json").write_text(json.dumps(config))
    other = fingerprint(clip_copy)
    transformers.CLIPImageProcessor(size={"shortest_edge": 40}, crop_size={"height": 32, "width": 32}).save_pretrained(clip_copy)  # fmt: skip

    assert len({first, other, fingerprint(clip_copy)}) == 3


def test_a_cached_repository_needs_no_network(
    clip_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = small_models.hub_cache(tmp_path, "org/small", clip_folder)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))

    by_hub, by_folder = load("org/small", LoadOptions()), load(str(clip_folder), LoadOptions())

    assert by_hub.info.fingerprint == by_folder.info.fingerprint and by_hub.info.id == "hf:org/small"


# ----- what goes wrong


@pytest.mark.parametrize("saver", [save_clip, save_siglip2_of_fixed_size])
def test_a_tokenizer_without_its_vocabulary_is_refused(tmp_path: Path, saver: Callable[[Path], Path]) -> None:
    (saver(tmp_path) / "tokenizer.json").unlink()

    with pytest.raises(ModelError, match=r"'a photo of a cat' and 'a photo of a dog' the same tokens: its vocabulary"):
        load(str(tmp_path), LoadOptions())


def without(pattern: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        for path in [*folder.glob(pattern)]:
            path.unlink()

    return damage


def with_projection(value: torch.Tensor | None) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        state = load_file(folder / "model.safetensors") | {"text_projection.weight": value}
        weights = {name: weight for name, weight in state.items() if weight is not None}
        save_file(weights, folder / "model.safetensors", {"format": "pt"})

    return damage


def with_end(end: object) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        config["text_config"]["eos_token_id"] = end
        (folder / "config.json").write_text(json.dumps(config))

    return damage


def without_padding(folder: Path) -> None:
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": None}
    small_models.change_json(folder / "tokenizer_config.json", **settings)


def cut_short(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (without("model.safetensors"), "transformers cannot load hf:"),
        (
            without("*processor*"),
            r"hf:.* has no image processor that transformers can load: save .*\.save_pretrained\('",
        ),
        (with_projection(None), r"lacks 1 weights of its CLIPModel \(text_projection.weight.*would be random"),
        (with_projection(torch.ones(7, 32)), r"transformers cannot load hf:.*text_projection.weight|mismatched"),
        (with_end([513]), r"has eos_token_id .*: expected the id of one token in config\.json"),
        (with_end(None), r"has eos_token_id .*: expected the id of one token in config\.json"),
        (without_padding, r"the tokenizer of hf:.* names no padding: put pad_token into"),
        (cut_short, r"cannot load hf:.*SafetensorError.*model\.safetensors is damaged: delete it"),
        (transformers.BertConfig().save_pretrained, "is of type 'bert', which has no get_image_features and get_text"),
    ],
)
def test_a_damaged_folder_is_refused(clip_copy: Path, damage: Callable[[Path], None], message: str) -> None:
    damage(clip_copy)
    with pytest.raises(ModelError, match=message):
        load(str(clip_copy), LoadOptions())


def test_a_tokenizer_that_ends_texts_otherwise_than_the_model_pools_is_refused(tmp_path: Path) -> None:
    folder = save_clip(tmp_path, eos_token_id=333)

    with pytest.raises(ModelError, match=r"takes a text's vector at token id 333, which its tokenizer does not put"):
        load(str(folder), LoadOptions())
