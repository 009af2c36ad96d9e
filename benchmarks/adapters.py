"""Print how far each adapter is from its library: adapters.py [WORD...], the figures that README.md lists.

Needs the dev extra, and no network.

Models are small, with seeded random weights, saved as their libraries save them. Both sides compute in one precision;
what is fed to the library is written here, after its documentation.
"""

import json
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import open_clip
import torch
import transformers
from PIL import Image

from clipbench import load_model

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests/clipbench/models"), str(ROOT / "tests")]

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
Encode = Callable[[list[Any]], np.ndarray]


class Library(NamedTuple):
    """Vectors that a library gives by its own calls, in one precision."""

    images: Encode
    texts: Encode
    logits: Callable[[list[Any], list[str]], torch.Tensor] | None = None
    """Logits of its forward pass, images by texts; None where it has none."""


class Subject(NamedTuple):
    """A model that an adapter loads, and its library's own calls."""

    name: str
    reference: str
    options: dict[str, Any]
    library: Callable[[torch.dtype], Library]
    precisions: Sequence[str] = ("fp32", "bf16")


def from_open_clip(folder: Path) -> Callable[[torch.dtype], Library]:
    def library(dtype: torch.dtype) -> Library:
        model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
        tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
        model = model.eval().to(dtype)
        pixels = lambda images: torch.stack([preprocess(image) for image in images]).to(dtype)
        return Library(
            lambda images: model.encode_image(pixels(images), normalize=False).float().numpy(),
            lambda texts: model.encode_text(tokenizer(texts), normalize=False).float().numpy(),
            (
                (lambda images, texts: model.get_logits(pixels(images), tokenizer(texts))[0])
                if hasattr(model, "get_logits")
                else None
            ),
        )

    return library


def from_transformers(folder: Path, *, mask: bool) -> Callable[[torch.dtype], Library]:
    def library(dtype: torch.dtype) -> Library:
        # attention written out: without padding, AIMv2 loses its mask in the other one
        model = transformers.AutoModel.from_pretrained(folder, dtype=dtype, attn_implementation="eager").eval()
        processor = transformers.AutoImageProcessor.from_pretrained(folder)
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        text_config = getattr(model.config, "text_config", model.config)
        length = min(text_config.max_position_embeddings, tokenizer.model_max_length)

        def pixels(images: list[Image.Image]) -> dict[str, torch.Tensor]:
            arrays = processor(images=images, return_tensors="pt")
            return {key: each.to(dtype) if each.is_floating_point() else each for key, each in arrays.items()}

        def tokens(texts: list[str]) -> dict[str, torch.Tensor]:
            lowered = [text.lower() for text in texts] if not mask else texts
            given = tokenizer(lowered, padding="max_length", truncation=True, max_length=length, return_tensors="pt")
            return dict(given) if mask else {"input_ids": given.input_ids}

        has_logits = model.config.model_type != "flava"  # its head belongs to the model for pretraining
        first = model.config.model_type == "flava"

        def vectors(output: Any) -> np.ndarray:
            found = output.pooler_output[:, 0] if first else output.pooler_output
            return np.asarray(found.float())

        return Library(
            lambda images: vectors(model.get_image_features(**pixels(images))),
            lambda texts: vectors(model.get_text_features(**tokens(texts))),
            (lambda images, texts: model(**pixels(images), **tokens(texts)).logits_per_image) if has_logits else None,
        )

    return library


def from_sentence_transformers(folder: Path, **arguments: Any) -> Callable[[torch.dtype], Library]:
    from sentence_transformers import SentenceTransformer

    def library(dtype: torch.dtype) -> Library:
        model = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": dtype}, **arguments)
        texts = lambda texts: [{"text": text} for text in texts]
        return Library(model.encode, lambda given: model.encode(texts(given)))

    return library


def from_clipbench(reference: str) -> Callable[[torch.dtype], Library]:
    """Return the source of an export or of a server: here the model itself is what the adapter is held against."""

    def library(dtype: torch.dtype) -> Library:
        model: Any = load_model(reference, device="cpu")
        return Library(model.encode_images, model.encode_texts)

    return library


def solve(library: Library, images: list[Any], texts: list[str]) -> tuple[float, float]:
    """Return the scale and bias that turn the library's cosines into its logits, by least squares."""
    assert library.logits is not None
    logits = np.asarray(library.logits(images, texts).float(), np.float64).ravel()
    cosines = (units(library.images(images)) @ units(library.texts(texts)).T).ravel()
    table = np.stack([cosines, np.ones_like(cosines)], axis=1)
    (scale, bias), *_ = np.linalg.lstsq(table, logits, rcond=None)
    return float(scale), float(bias)


def units(vectors: np.ndarray) -> np.ndarray:
    exact = vectors.astype(np.float64)
    return np.asarray(exact / np.linalg.norm(exact, axis=1, keepdims=True))


def largest(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Return the largest distance of two vectors as a share of the second's length."""
    return float(np.max(np.linalg.norm(ours - theirs, axis=1) / np.linalg.norm(theirs, axis=1)))


def subjects(folder: Path, models: Any) -> list[Subject]:
    """Save every model, and return them."""
    import test_onnx
    import test_transformers as hf
    import test_transformers_logits as families

    found = []
    for name, config, preprocess in (
        ("CLIP", models.CLIP, None),
        ("SigLIP", models.SIGLIP, models.HALVES),
        ("MobileCLIP", models.MOBILE_CLIP, None),
        ("CoCa", models.COCA, None),
    ):
        place = models.open_clip_folder(folder / f"open_clip {name}", config, preprocess=preprocess)
        found.append(Subject(f"open_clip {name}", f"local-dir:{place}", {}, from_open_clip(place)))
    for name, save, mask in (
        ("CLIP", hf.save_clip, True),
        ("SigLIP", hf.save_siglip, False),
        ("SigLIP 2", hf.save_siglip2_of_fixed_size, False),
        ("SigLIP 2 NaFlex", hf.save_siglip2_naflex, False),
    ):
        place = save(folder / f"transformers {name}")
        found.append(Subject(f"transformers {name}", f"hf:{place}", {}, from_transformers(place, mask=mask)))
    for family in (
        "aimv2",
        "align",
        "altclip",
        "blip",
        "chinese_clip",
        "flava",
        "groupvit",
        "metaclip_2",
        "owlv2",
        "tipsv2",
    ):
        place = families.save(folder / family, families.SUPPORTED[family]())
        found.append(Subject(f"transformers {family}", f"hf:{place}", {}, from_transformers(place, mask=True)))
    place = st_clip(folder / "st", folder / "transformers CLIP")
    found.append(Subject("sentence-transformers CLIP", f"st:{place}", {}, from_sentence_transformers(place)))
    found.append(
        Subject(
            "sentence-transformers CLIP, 8 dimensions", f"st:{place}", {"truncate_dim": "8"},
            from_sentence_transformers(place, truncate_dim=8),
        )
    )  # fmt: skip
    exported = folder / "onnx"
    shutil.copytree(folder / "open_clip CLIP", exported)
    module = open_clip.create_model(f"local-dir:{exported}")
    test_onnx.export(exported, module, ("encode_image", "encode_text"), torch.zeros(2, 3, 32, 32), torch.ones(2, 77, dtype=torch.long))  # fmt: skip
    found.append(Subject("ONNX of open_clip CLIP", f"onnx:{exported}", {}, from_open_clip(exported), ("fp32",)))
    found.append(Subject("pair of tiny and tiny", "pair:tiny+tiny", {}, from_clipbench("tiny"), ("fp32",)))
    return found


def st_clip(folder: Path, source: Path) -> Path:
    from sentence_transformers import SentenceTransformer

    shutil.copytree(source, folder)
    images, tokenizer = (
        each.from_pretrained(folder) for each in (transformers.AutoImageProcessor, transformers.AutoTokenizer)
    )
    transformers.CLIPProcessor(images, tokenizer).save_pretrained(folder)
    SentenceTransformer(str(folder), device="cpu").save(str(folder / "saved"))
    return folder / "saved"


def row(subject: Subject, images: list[Image.Image], texts: list[str]) -> str:
    """Return a line of the table."""
    cells = [subject.name]
    logits = "none in the library"
    for precision, dtype in DTYPES.items():
        if precision not in subject.precisions:
            cells += ["–", "–"]
            continue
        library = subject.library(dtype)
        model: Any = load_model(
            subject.reference, device="cpu", precision=precision, batch_size=4, model_options=subject.options
        )
        with torch.inference_mode():
            cells += [
                f"{largest(encode(inputs), theirs(inputs)):.0e}"
                for encode, theirs, inputs in (
                    (model.encode_images, library.images, images),
                    (model.encode_texts, library.texts, texts),
                )
            ]
            if precision == "fp32" and model.info.logit_scale is None:
                logits = "not in the files"
            elif precision == "fp32" and library.logits is not None:
                scale, bias = solve(library, images, texts)
                logits = (
                    f"{model.info.logit_scale:.3f}, {model.info.logit_bias:.2f} against {scale:.3f}, {bias + 0:.2f}"
                )
    return f"| {' | '.join([*cells, logits])} |"


def served(images: list[Image.Image], texts: list[str]) -> str:
    """Return the line of a served model whose server is busy, drops and reorders."""
    import embeddings_server as server

    tiny: Any = load_model("tiny", device="cpu")
    faults = [server.busy, server.dropped, server.reordered, None, None]
    state = server.State(tiny.encode_images, tiny.encode_texts)
    with server.serve(state) as url:
        model: Any = load_model(f"api:{url}", model_options={"model": "tiny"})
        state.fault = lambda number: faults[number % len(faults)]
        found = [largest(model.encode_images(images), tiny.encode_images(images)), largest(model.encode_texts(texts), tiny.encode_texts(texts))]  # fmt: skip
    return (
        f"| tiny, served by a server that is busy, drops and reorders | {' | '.join(f'{each:.0e}' for each in found)} |"
        " – | – | none in the library |"
    )


def main() -> None:
    import small_models as models

    warnings.simplefilter("ignore")
    transformers.utils.logging.disable_progress_bar()
    images = [image.convert("RGB") for image in models.images()]
    texts = [*models.TEXTS, "😀 🐈 a café", "https://example.org/cat.jpg"]
    print("| model | fp32 images | fp32 texts | bf16 images | bf16 texts | scale and bias |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        wanted = sys.argv[1:]
        for subject in subjects(Path(folder), models):
            if wanted and not any(word in subject.name for word in wanted):
                continue
            print(row(subject, images, texts), flush=True)
    print(served(images, texts))
    print(json.dumps({"torch": torch.__version__, "transformers": transformers.__version__}), file=sys.stderr)


if __name__ == "__main__":
    main()
