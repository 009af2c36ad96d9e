"""A model whose roles matter, through each adapter that has them: right in both directions, and each item encoded as
seldom as can be.
"""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
from PIL import Image

import clipbench as cb
from clipbench.data.modalities import JOINT
from clipbench.errors import UsageError
from clipbench.models import load_model
from clipbench.models.adapters.python import wrap
from clipbench.models.adapters.sentence_transformers import SentenceModel
from clipbench.models.adapters.sentence_transformers import _prompts as prompts_of
from clipbench.models.options import LoadOptions
from clipbench.models.towers.torch_model import resolve_placement
from clipbench.testing import INFO
from tests import embeddings_server

N = 6
PLACES = {("text", "query"): 0, ("image", "document"): 0, ("image", "query"): 1, ("text", "document"): 1}
"""A caption finds its image in the first block of dimensions, an image its caption in the second; without a role, all
is alike.
"""


def sided(modality: str, names: list[int], role: str | None) -> np.ndarray:
    rows = np.zeros((len(names), 3, N), np.float32)
    for row, name in zip(rows, names, strict=True):
        if (modality, role) in PLACES:
            row[PLACES[modality, role], name] = 1  # type: ignore[index]
        else:
            row[2, 0] = 1
    return rows.reshape(len(names), -1)


def of_images(images: list[Image.Image], role: str | None = None) -> np.ndarray:
    return sided("image", [round(float(np.asarray(image)[0, 0, 0]) / 40) % N for image in images], role)


def of_texts(texts: list[str], role: str | None = None) -> np.ndarray:
    return sided("text", [int(re.sub(r"\D", "", text) or 0) % N for text in texts], role)


class Told:
    fingerprint = "told"

    def encode_images(self, images: list[Image.Image], role: str | None) -> np.ndarray:
        return of_images(images, role)

    def encode_texts(self, texts: list[str], role: str | None = None) -> np.ndarray:
        return of_texts(texts, role)


class TwoMethods:
    fingerprint = "two methods"

    def encode_images(self, images: list[Image.Image], role: str | None) -> np.ndarray:
        return of_images(images, role)

    def encode_queries(self, texts: list[str]) -> np.ndarray:
        return of_texts(texts, "query")

    def encode_documents(self, texts: list[str]) -> np.ndarray:
        return of_texts(texts, "document")


def library_model() -> SentenceModel:
    """A model of sentence-transformers that goes by its prompt."""
    st = pytest.importorskip("sentence_transformers", reason="the library of the adapter")
    import torch

    class Library(torch.nn.Module):
        modalities = ("text", "image", ("image", "text"))

        def preprocess(self, inputs: list[Any], prompt: str | None = None, **value: Any) -> dict[str, Any]:
            parts = [one_input if isinstance(one_input, dict) else {"image": one_input} for one_input in inputs]
            role = (prompt or "").removesuffix(": ") or None
            vectors = sum(
                encode([one_input[name] for one_input in parts], role)
                for name, encode in (("image", of_images), ("text", of_texts))
                if name in parts[0]
            )
            return {"sentence_embedding": torch.tensor(vectors)}

        def forward(self, features: dict[str, Any], **value: Any) -> dict[str, Any]:
            return features

    prompts = {"query": "query: ", "passage": "document: "}
    module = st.SentenceTransformer(modules=[Library()], device="cpu", prompts=prompts)
    model = SentenceModel(
        info=replace(INFO, embed_dim=3 * N, is_joint=True),
        module=module,
        prompts=prompts_of(module, LoadOptions()),
        placement=resolve_placement("cpu", "fp32", 4),
    )
    return replace(model, info=replace(model.info, roles=model.roles()))


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pandas.DataFrame:
    monkeypatch.setenv("CLIPBENCH_CACHE", str(tmp_path / "cache"))
    images = [Image.new("RGB", (8, 8), (40 * row, 0, 0)) for row in range(N)]
    return pandas.DataFrame({"image": images, "caption": [f"thing {row}" for row in range(N)]})


def values(run: cb.Run, task: str) -> dict[str, float | None]:
    return {name: metric.value for name, metric in run.evaluation(task).metrics.items()}


@pytest.mark.parametrize("adapter", ["role=", "two methods", "api", "template", "st"])
def test_roles_are_right_in_both_directions(adapter: str, photos: pandas.DataFrame, tmp_path: Path) -> None:
    state = embeddings_server.State(of_images, of_texts)
    with embeddings_server.serve(state) as url:
        models: dict[str, Any] = {
            "role=": Told(),
            "two methods": TwoMethods(),
            "api": f"api:{url}",
            "template": f"api:{url}",
        }
        model = library_model() if adapter == "st" else models[adapter]
        given = {"model": "toy", "body.query.input_type": "query", "body.document.input_type": "document"}
        by_template = {"model": "toy", "template": str(tmp_path / "template.json")}
        messages = [
            {
                "role": "user",
                "content": [{"type": "image_url", "image_url": {"url": "{image}"}}, {"type": "text", "text": "{text}"}],
            }
        ]
        blocks = {role: {"messages": messages, "input_type": role} for role in ("query", "document")}
        (tmp_path / "template.json").write_text(json.dumps(blocks))
        options = {"api": given, "template": by_template}.get(adapter)
        tasks = ["retrieval", "modality-gap"]
        run = cb.run(model, tasks, data=photos, out=tmp_path / "run", model_options=options)
    result = values(run, "retrieval")
    assert result["image_retrieval_recall@1"] == result["text_retrieval_recall@1"] == 1
    # what has no role is a document where there are but two methods, or blocks
    assert values(run, "modality-gap")["pair_cosine"] == pytest.approx(
        0 if adapter in ("two methods", "template") else 1
    )
    facts = run.result.model
    assert {*facts["roles"]} - {JOINT} == {"image", "text"} and {*facts["roles"]["text"]} == {"query", "document"}
    assert "text is encoded by its role: as query '" in "\n".join(facts["notes"])


def test_classes_answer_images(photos: pandas.DataFrame, tmp_path: Path) -> None:
    run = cb.run(Told(), ["zero-shot"], data=photos.rename(columns={"caption": "label"}), out=tmp_path / "run")
    assert values(run, "zero-shot")["acc1"] == 1


class Joint(Told):
    fingerprint = "joint"

    def encode_joint(self, images: list[Image.Image], texts: list[str], role: str | None) -> np.ndarray:
        assert all(image.mode == "RGB" for image in images)
        return of_images(images, role) + of_texts(texts, role)


def test_the_library_encodes_an_image_with_a_text_as_one() -> None:
    model = library_model()
    expected = sided("image", [1], "document") + sided("text", [2], "document")
    assert (model.encode(JOINT, [(Image.new("L", (8, 8), 40), "thing 2")], "document") == expected).all()
    assert model.info.roles[JOINT] == {"query": "query: ", "document": "document: "}


def test_an_object_is_told_the_role_where_it_takes_one() -> None:
    pairs = [(Image.new("L", (8, 8), 40), "thing 2"), (Image.new("L", (8, 8), 80), "thing 3")]
    model = wrap(Joint(), "joint", batch_size=1)
    expected = sided("image", [1, 2], "query") + sided("text", [2, 3], "query")
    assert model.info.is_joint and (model.encode(JOINT, pairs, "query") == expected).all()
    assert {*model.info.roles} == {"image", "text", JOINT} and model.modalities == ["image", "text"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "toy", "body.qurey.input_type": "q"}, r"no role 'qurey': did you mean 'query'\?"),
        ({"model": "toy", "body.passage.input_type": "q"}, r"no role 'passage': known: document, query"),
    ],
)
def test_a_role_that_is_none_is_told(options: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_model("api:http://127.0.0.1:1", LoadOptions(options=options))
