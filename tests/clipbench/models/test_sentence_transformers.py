"""Models of sentence-transformers: vectors equal to the library's own ``encode``, and code in a folder never run."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from clipbench.errors import ModelError, UsageError
from clipbench.models import load_model
from clipbench.models.adapters.sentence_transformers import load
from clipbench.models.introspection.costs import tower_sizes
from clipbench.models.options import LoadOptions
from clipbench.models.protocol import Model
from tests.clipbench.models import small_models
from tests.clipbench.models.small_models import same

st = pytest.importorskip("sentence_transformers", reason="the library that the adapter is held against")
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")

SHAPE = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
MORE_TEXTS = ["😀 🐈 a café", "https://a.b/cat.jpg", "word " * 300]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small CLIP of transformers as sentence-transformers saves it: images and texts."""
    source, folder = (tmp_path_factory.mktemp("st") for _ in range(2))
    small_models.transformers_clip(source)
    images = transformers.CLIPImageProcessor.from_pretrained(source)
    tokenizer = transformers.CLIPTokenizer.from_pretrained(source)
    transformers.CLIPProcessor(images, tokenizer).save_pretrained(source)
    st.SentenceTransformer(str(source), device="cpu").save(str(folder))
    return folder


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small text tower of four modules, with prompts."""
    from sentence_transformers.sentence_transformer import modules

    source, folder = (tmp_path_factory.mktemp("st") for _ in range(2))
    words = sorted({word for text in small_models.CORPUS for word in text.replace(",", "").replace(":", "").split()})
    vocabulary = {word: row for row, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words])}
    model = transformers.BertModel(
        transformers.BertConfig(vocab_size=len(vocabulary), hidden_size=32, max_position_embeddings=24, **SHAPE)
    )
    small_models.randomize(model)
    model.save_pretrained(source)
    transformers.BertTokenizer(vocab=vocabulary, model_max_length=24).save_pretrained(source)
    torch.manual_seed(0)
    parts = [
        modules.Transformer(str(source)),
        modules.Pooling(32, pooling_mode="mean"),
        modules.Dense(32, 24),
        modules.Normalize(),
    ]
    whole = st.SentenceTransformer(
        modules=parts, device="cpu", prompts={"query": "find: ", "plain": ""}, default_prompt_name="plain"
    )
    whole.save(str(folder))
    return folder


@pytest.fixture
def copy(bert: Path, tmp_path: Path) -> Path:
    """A folder to damage."""
    return Path(shutil.copytree(bert, tmp_path / "copy"))


def texts_only(**options: str) -> LoadOptions:
    return LoadOptions(batch_size=4, towers=["texts"], options=options)


# ----- the vectors


@pytest.mark.parametrize("truncate_dim", [None, 8])
def test_images_and_texts_get_the_library_s_vectors(clip: Path, truncate_dim: int | None) -> None:
    theirs = st.SentenceTransformer(str(clip), device="cpu", truncate_dim=truncate_dim)
    options = {} if truncate_dim is None else {"truncate_dim": str(truncate_dim)}
    ours = load(str(clip), LoadOptions(batch_size=4, options=options))
    images, texts = [image.convert("RGB") for image in small_models.images()], list(small_models.TEXTS)

    assert isinstance(ours, Model)
    same(ours.encode_images(images), theirs.encode(images))
    same(ours.encode_texts(texts), theirs.encode(texts))
    same(ours.encode_texts(MORE_TEXTS), theirs.encode([{"text": text} for text in MORE_TEXTS]))
    assert ours.encode_texts([]).shape == (0, ours.info.embed_dim)
    assert (ours.info.embed_dim, ours.info.context_length) == (truncate_dim or 24, 77)
    # a part of the vectors has other cosines than those that the scale was learned with
    assert ours.info.logit_scale == (pytest.approx(np.exp(4)) if truncate_dim is None else None)


def test_half_precision_is_the_library_s(clip: Path) -> None:
    theirs = st.SentenceTransformer(str(clip), device="cpu", model_kwargs={"dtype": torch.bfloat16})
    ours = load(str(clip), LoadOptions(precision="bf16"))

    same(ours.encode_texts(small_models.TEXTS), theirs.encode(list(small_models.TEXTS)))
    assert ours.info.fingerprint != load(str(clip), LoadOptions()).info.fingerprint


@pytest.mark.parametrize(
    "options", [{}, {"prompt_name": "query"}, {"prompt": "a photo of "}, {"truncate_dim": "6"}], ids=repr
)
def test_texts_get_the_prompt_that_is_asked_for(bert: Path, options: dict[str, str]) -> None:
    texts = [*small_models.TEXTS, *MORE_TEXTS]
    theirs = st.SentenceTransformer(str(bert), device="cpu")
    arguments: dict[str, Any] = {**options}
    if "truncate_dim" in options:
        arguments["truncate_dim"] = 6

    model = load(str(bert), texts_only(**options))

    same(model.encode_texts(texts), theirs.encode(texts, **arguments))
    assert bool(model.info.notes) == bool({"prompt", "prompt_name"} & {*options})


def test_roles_have_the_library_s_prompts(bert: Path, clip: Path) -> None:
    theirs, texts = st.SentenceTransformer(str(bert), device="cpu"), [*small_models.TEXTS]
    ours = load(str(bert), texts_only())
    assert ours.info.roles == {"text": {"query": "find: ", "document": ""}}
    same(ours.encode("text", texts, "query"), theirs.encode_query(texts))
    same(ours.encode("text", texts, "document"), theirs.encode_document(texts))
    same(
        load(str(bert), texts_only(query_prompt="a ")).encode("text", texts, "query"), theirs.encode(texts, prompt="a ")
    )
    assert load(str(bert), texts_only(prompt="a ")).info.roles == load(str(clip), LoadOptions()).info.roles == {}
    with pytest.raises(
        UsageError,
        match="prompt is the prompt of every role, and query_prompt is the prompt of one role: give only one",
    ):
        load(str(bert), texts_only(prompt="a ", query_prompt="b "))


def test_tokens_are_counted_with_the_longest_prompt(bert: Path) -> None:
    assert load(str(bert), texts_only()).count_tokens(["a cat", ""]).tolist() == [6, 4]  # "find: ", of queries
    assert load(str(bert), texts_only(query_prompt="")).count_tokens(["a cat", ""]).tolist() == [4, 2]
    assert load(str(bert), texts_only(prompt="a dog ")).count_tokens(["a cat"]).tolist() == [6]


def test_options_are_part_of_the_fingerprint(bert: Path) -> None:
    each = [{}, {"prompt": "a "}, {"prompt_name": "query"}, {"truncate_dim": "6"}]

    assert len({load(str(bert), texts_only(**options)).info.fingerprint for options in each}) == 4


def test_the_similarity_is_the_library_s(copy: Path) -> None:
    path = copy / "config_sentence_transformers.json"
    small_models.change_json(path, similarity_fn_name="dot")
    assert load(str(copy), texts_only()).info.similarity == "dot"
    small_models.change_json(path, similarity_fn_name="euclidean")
    with pytest.raises(UsageError, match="says similarity = 'euclidean': expected 'cosine' or 'dot'"):
        load(str(copy), texts_only())


def test_it_lends_a_text_tower(bert: Path, small_clip_folder: Path) -> None:
    model: Any = load_model(f"pair:local-dir:{small_clip_folder}+st:{bert}", LoadOptions(device="cpu"))

    theirs = st.SentenceTransformer(str(bert), device="cpu").encode(list(small_models.TEXTS))
    same(model.encode_texts(small_models.TEXTS), theirs)
    assert model.info.embed_dim == 24 and model.info.logit_scale is None
    text = tower_sizes(model)["text"]
    assert text.item == "the text 'a photo of a cat'" and text.flops and text.n_parameters


# ----- what is refused


def test_a_model_of_texts_alone_is_refused(bert: Path) -> None:
    with pytest.raises(
        ModelError, match=r"st:.* does not encode images \(it encodes: text\): .*pair:IMAGE_REF\+TEXT_REF"
    ):
        load(str(bert), LoadOptions())


def test_a_repository_in_the_cache_needs_no_network(
    bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = small_models.hub_cache(tmp_path, "org/name", bert)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))

    theirs = st.SentenceTransformer(str(bert), device="cpu").encode(list(small_models.TEXTS))
    same(load("org/name", texts_only()).encode_texts(small_models.TEXTS), theirs)


# ----- code in a folder


def own_module(folder: Path) -> None:
    path = folder / "modules.json"
    parts = json.loads(path.read_text())
    path.write_text(json.dumps([*parts, {"idx": 9, "name": "9", "path": "", "type": "evil.Evil"}]))


def own_config(folder: Path) -> None:
    names = {"AutoConfig": "evil.Evil", "AutoModel": "evil.Evil"}
    small_models.change_json(folder / "config.json", auto_map=names, model_type="evil")


def trust_in_arguments(folder: Path) -> None:
    own_config(folder)
    asks = {"trust_remote_code": True}
    small_models.change_json(
        folder / "sentence_bert_config.json", model_args=asks, config_args=asks, tokenizer_args=asks
    )


def own_activation(folder: Path) -> None:
    small_models.change_json(next(folder.glob("*_Dense")) / "config.json", activation_function="evil.Evil")


def own_method(folder: Path) -> None:
    small_models.change_json(
        folder / "sentence_bert_config.json",
        modality_config={"text": {"method": "save_pretrained", "method_output_name": None}},
        module_output_name="token_embeddings",
    )


@pytest.mark.parametrize("plant", [own_module, own_config, trust_in_arguments, own_activation, own_method])
def test_code_in_a_folder_is_never_run(copy: Path, plant: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = tmp_path / "ran"
    (copy / "evil.py").write_text(f"open({str(trace)!r}, 'w').close()\nclass Evil: pass\n")
    monkeypatch.chdir(copy)  # where an import would find it
    monkeypatch.syspath_prepend(copy)
    monkeypatch.setattr("builtins.input", lambda *_: "y")  # the answer to "do you wish to run the custom code?"
    plant(copy)

    with pytest.raises(ModelError) as caught:
        load(str(copy), texts_only())
    assert not trace.exists() and "\n" not in str(caught.value)


def test_a_file_that_the_library_alone_reads_is_refused(copy: Path) -> None:
    small_models.change_json(next(copy.glob("*_Dense")) / "config.json", note="\ud800")
    with pytest.raises(ModelError, match=r"_Dense/config\.json is not JSON: .* half a surrogate pair"):
        load(str(copy), texts_only())


def test_a_fifo_in_a_part_is_not_waited_for(copy: Path) -> None:
    os.mkfifo(next(copy.glob("*_Dense")) / "x.json")
    with pytest.raises(ModelError, match=r"_Dense/x\.json is a FIFO, a device or a socket: remove it"):
        load(str(copy), texts_only())
