"""Precomputed vectors: model and data in one, so no model, no image and no torch is needed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64
from PIL import Image

from clipbench.data.dataset import Dataset, check
from clipbench.data.given_labels import OPTION as LABELS_OPTION
from clipbench.data.given_labels import with_given_labels
from clipbench.data.images import content_digest
from clipbench.data.labels import Groups, label_fields
from clipbench.data.modalities import IDS, IMAGE, LINK, TEXT, Modalities, pairs_of
from clipbench.data.part import Fields
from clipbench.data.prompts import PLACEHOLDER
from clipbench.errors import BadImage, DataError, NoTokenCounts, UsageError, model_option, option
from clipbench.models.adapters.vector_arrays import Arrays, array_name, checked_arrays, modalities_of, read_arrays
from clipbench.models.adapters.vector_items import ITEMS_FILE, ItemLine, VectorItems, parse_items, read_items
from clipbench.models.fingerprint import array_digest, digest
from clipbench.models.options import LoadOptions
from clipbench.models.protocol import COSINE, Embedder, ModelInfo, Role, TokenCounts, Vectors

OWN_SAMPLES = "embeddings"
"""Id of the data set in the file, whatever the file is called: files of two models hold the same samples."""
PARTS = ("captions", "caption_image", "caption_ids", "labels", "class_names", "templates", "contrasts", "attacks")
"""Parts of a data set that are about images."""
TEMPLATE = "class: {c}"
"""Sets the names of classes, as prompts, apart from the names of texts."""


@dataclass(frozen=True)
class VectorRow:
    """An image or another item, identified by its id, of which only the vector or the predicted class is known."""

    row: int
    name: str

    def digest(self) -> str:
        return content_digest(self.name.encode())

    def open(self) -> Image.Image:
        raise BadImage(self.name, "the file holds what was computed from the image, not the image")


@dataclass(frozen=True, kw_only=True, eq=False)
class Embeddings(Embedder):
    """An ``Embedder`` that looks its vectors up, and the samples that they belong to."""

    info: ModelInfo
    dataset: Dataset
    """Images stand for rows of ``images``, captions for rows of ``texts``, prompts for rows of ``class_texts``."""
    image_vectors: Float32[np.ndarray, "n_images dim"]
    text_vectors: Sequence[Float32[np.ndarray, "_ dim"]]
    """Vectors of texts and of prompts, where there are any."""
    text_rows: Mapping[str, int]
    """Row of each text in all of ``text_vectors`` together."""
    item_vectors: Mapping[str, Float32[np.ndarray, "n_items dim"]] = field(default_factory=dict)
    """Vectors of modalities other than image and text, by their names."""

    def __repr__(self) -> str:
        contents = f"{len(self.image_vectors):,} images and {len(self.text_rows):,} texts"
        if self.item_vectors:
            contents = ", ".join(f"{len(ids):,} of {name}" for name, ids in self._ids().items())
        return f"<vectors of {contents}, {self.info.embed_dim} dimensions>"

    def encode(self, modality: str, items: Sequence[Any], role: Role = None) -> Vectors:
        """Return the vector of each item of ``dataset``, in order, or raise DataError for an item without a vector."""
        if modality == TEXT:
            return self._text_vectors(items)
        if modality == IMAGE:
            return _select_rows(self.image_vectors, self._item_rows(IMAGE, items, self.dataset.image_ids))
        if modality not in self.item_vectors:
            raise DataError(f"{self.info.id} has no vectors of {modality}: it has {', '.join(self._ids()) or 'none'}")
        return _select_rows(self.item_vectors[modality], self._item_rows(modality, items, self._ids()[modality]))

    def _text_vectors(self, texts: Sequence[str]) -> Vectors:
        known_rows = []
        for text in texts:
            row = self.text_rows.get(text)
            known_rows.append(self._raise_unknown("text", text) if row is None else row)
        rows = np.array(known_rows, np.int64)
        start = 0
        for vectors in self.text_vectors:
            if ((start <= rows) & (rows < start + len(vectors))).all():
                return _select_rows(vectors, rows - start)
            start += len(vectors)
        return _select_rows(np.concatenate(self.text_vectors), rows)

    def count_tokens(self, texts: Sequence[str]) -> TokenCounts:
        raise NoTokenCounts(
            f"{self.info.id} holds vectors only: without the model, shorter texts cannot be encoded and"
            " tokens cannot be counted"
        )

    def _ids(self) -> Mapping[str, Sequence[str]]:
        return {} if self.dataset.modalities is None else self.dataset.modalities.ids

    def _item_rows(self, modality: str, items: Sequence[Any], ids: Sequence[str]) -> Int64[np.ndarray, " n_items"]:
        for item in items:
            if not isinstance(item, VectorRow) or [*ids[item.row : item.row + 1]] != [item.name]:
                self._raise_unknown(modality, item.name)
        return np.array([item.row for item in items], np.int64)

    def _raise_unknown(self, kind: str, name: str) -> int:
        raise DataError(
            f"{self.info.id} has no vector for {kind} '{name}': it holds only vectors of its own samples. Run"
            f" a task without @DATA and without {option('prompts')}"
        )


def vectors(
    *,
    images: object = None,
    texts: object = None,
    items: Sequence[Mapping[str, object]] = (),
    name: str = "vectors",
    **arrays: object,
) -> Embeddings:
    """Return vectors that are there already as a model for ``clipbench.run``, with the samples that they belong to.

    Every array may be a numpy array, a torch tensor or a list. Vectors can have any length, and are scaled to length 1
    if a metric needs it.

    Args:
        images: one vector per image, (n_images, dim). ``image`` is the same. None (the default) for no images.
        texts: one vector per text, (n_texts, dim). ``text`` is the same. Without ``text_to_image``, text i belongs to
            image i. None (the default) for no texts.
        items: of composition, text-in-image or long-caption, with the fields of a line of ``items.jsonl``
            (docs/vectors.md). For composition: ``id``, ``images`` (rows), ``captions`` (rows of texts), ``truth`` (a
            list per image, with 1 for each caption that is true of it, otherwise 0) and optionally ``subset``. None of
            them by default.
        name: the model's name in results, ``"vectors"`` by default.
        arrays: ``text_to_image`` (n_texts,), the row of each text's image; ``labels`` (n_images,), rows of
            ``class_texts`` (n_classes, dim), for zero-shot classification, or (n_images, n_classes) of 0 and 1 if
            images have several right classes; the names ``image_ids``, ``text_ids`` and
            ``class_names``; ``group`` (n_images,) or (n_texts,), the slice of each, such as its language; the numbers
            ``logit_scale`` and ``logit_bias``, from cosines to logits; ``similarity``, ``dot`` for ranks by the inner
            product. Floating-point arrays of any other name, (n, dim), are modalities, such as ``audio``, in addition
            to images and texts or instead of them. ``audio_to_text`` (n_audio,) is then the row of each recording's
            text, and ``audio_ids`` their names. Without such rows, item i of two modalities with equal numbers of items
            belongs to item i.

    Raises:
        DataError: an array is unknown, or has another length or dimension than the others say.
        VectorError: a vector is zero, or holds a NaN or an infinity.

    Example:
        >>> import numpy as np
        >>> x = np.eye(3)
        >>> vectors(images=x, texts=x[[0, 0, 1, 2]], text_to_image=[0, 0, 1, 2]).dataset.caption_image
        array([0, 0, 1, 2])
        >>> vectors(audio=x, text=x, video=x)
        <vectors of 3 of audio, 3 of text, 3 of video, 3 dimensions>

    See Also:
        run: measure the vectors.
        torch_model: a model that makes them.
    """
    arguments = {"images": images, "texts": texts, **arrays}
    given_arrays = {key: _as_array(key, value) for key, value in arguments.items() if value is not None}
    checked = checked_arrays(given_arrays, "clipbench.vectors")
    of_rows = [ItemLine(f"clipbench.vectors: items[{number}]", fields) for number, fields in enumerate(items)]
    return embedder_from_arrays(checked, name, "clipbench.vectors(...)", of_rows)


def load(body: str, options: LoadOptions) -> Embeddings:
    """Return the vectors of an ``.npz``, or of a folder of ``.npy`` or ``.parquet``, with their samples.

    Raises:
        UsageError: an option that vectors which are already there cannot follow.
        DataError: the file cannot be read, or its arrays do not fit together.
        VectorError: a vector is zero or not finite.
    """
    reference = f"embeddings:{body}"
    options.refuse_unknown([LABELS_OPTION], reference)
    options.refuse_precision(reference, "whose vectors are there already")
    embedder = embedder_from_arrays(read_arrays(Path(body)), reference, "the file", read_items(Path(body)))
    label_file = options.options.get(LABELS_OPTION)
    if label_file is None:
        return embedder
    dataset = with_given_labels(embedder.dataset, label_file, option=model_option(**{LABELS_OPTION: label_file}))
    return replace(embedder, dataset=check(dataset, allow_partial=True))


def embedder_from_arrays(arrays: Arrays, reference: str, holder: str, items: Sequence[ItemLine] = ()) -> Embeddings:
    """Return an embedder with its samples from checked arrays and from items about their rows."""
    dim = int(arrays[array_name(modalities_of(arrays)[0])].shape[1])
    hashes = [f"{name} {array_digest(array)}" for name, array in sorted(arrays.items())]
    note = f"{holder} has no logit_scale: calibration and losses are undefined"
    info = ModelInfo(
        ref=reference,
        id=reference,
        fingerprint=digest("embeddings 1", *hashes),
        family="embeddings",
        embed_dim=dim,
        logit_scale=float(arrays["logit_scale"]) if "logit_scale" in arrays else None,
        logit_bias=float(arrays.get("logit_bias", np.float64(0))),
        similarity=str(arrays.get("similarity", COSINE)),
        notes=() if "logit_scale" in arrays else (note,),
    )
    return Embeddings(
        info=info,
        dataset=_dataset(arrays, holder, items),
        image_vectors=arrays.get("images", np.empty((0, dim), np.float32)),
        text_vectors=[arrays[name] for name in ("texts", "class_texts") if name in arrays],
        text_rows=_text_rows(arrays, reference),
        item_vectors={name: arrays[name] for name in modalities_of(arrays) if name not in (IMAGE, TEXT)},
    )


def _dataset(arrays: Arrays, holder: str, items: Sequence[ItemLine]) -> Dataset:
    names = _names(arrays, "image_ids", "images", "")
    texts = _names(arrays, "text_ids", "texts", "text ")
    parts = parse_items(items, len(names), texts)
    _check_items(arrays, parts, holder)
    # Without text_to_image, the classes of attacks are no captions, whatever their number.
    text_to_image = arrays.get("text_to_image") if parts.attacks is not None else _text_to_image(arrays)
    names_captions = text_to_image is None or parts.captions is not None
    class_names = tuple(_names(arrays, "class_names", "class_texts", "class ")) or None
    labels = arrays.get("labels")
    of_classes: Fields = {"labels": labels}
    if labels is not None and labels.ndim == 2:
        of_classes = label_fields([np.flatnonzero(is_right).tolist() for is_right in labels])
    groups = {}
    if "group" in arrays:  # of images or of texts by their number; of as many images as texts those of images
        values = [str(value) for value in arrays["group"]]
        groups["group"] = Groups(values, of_captions=len(values) != len(names))
    dataset = Dataset(
        id=OWN_SAMPLES,
        images=[VectorRow(row, name) for row, name in enumerate(names)],
        image_ids=names,
        has_ids="image_ids" in arrays and (names_captions or "text_ids" in arrays),
        class_names=class_names,
        templates=None if class_names is None else (TEMPLATE,),
        captions=None if text_to_image is None else texts,
        caption_image=text_to_image,
        caption_ids=None if text_to_image is None else _names(arrays, "text_ids", "texts", ""),
        contrasts=parts.contrasts,
        groups=groups,
        modalities=_modalities(arrays),
        notes=tuple(_notes(arrays, holder, class_names)),
        missing={part: f"{holder} lacks {array}" for part, array in _missing(arrays, parts).items()},
        **of_classes,
    )
    return check(_with_items(dataset, parts), allow_partial=True)


def _notes(arrays: Arrays, holder: str, class_names: Sequence[str] | None) -> Iterator[str]:
    """Yield that samples have no ids, and that classes have no image."""
    missing_ids = [f"{name}{IDS}" for name in modalities_of(arrays) if name != TEXT and f"{name}{IDS}" not in arrays]
    if missing_ids:
        yield f"samples are identified by their row: {holder} has no {' and no '.join(missing_ids)}"
    labels = arrays.get("labels")
    if class_names is not None and labels is not None:
        used = labels if labels.ndim == 1 else np.flatnonzero(labels.any(axis=0))
        empty = np.setdiff1d(np.arange(len(class_names)), used)
        if len(empty):
            yield f"{len(empty)} of {len(class_names)} classes have no image"


def _check_items(arrays: Arrays, parts: VectorItems, holder: str) -> None:
    """Raise DataError if arrays and items both say what the classes are, or which image a text belongs to."""
    for array in ("labels", "class_texts"):
        if parts.attacks is not None and array in arrays:
            raise DataError(
                f"{holder}: {array} and the attacks of the items both say what the classes are: expected only one of"
                " them. Put the items into a folder without labels and class_texts"
            )
    for array in ("text_to_image", "group"):
        if parts.captions is not None and array in arrays:
            raise DataError(
                f"{holder}: {array} and the items both say which image a text belongs to: expected only one of them."
                f" Put the items into a folder without {array}"
            )


def _with_items(dataset: Dataset, parts: VectorItems) -> Dataset:
    """Return the data set with the classes of attacks, or with long captions, whose image the items say."""
    if parts.attacks is not None:
        return replace(dataset, attacks=parts.attacks, class_names=parts.attack_classes, templates=(PLACEHOLDER,))
    if parts.captions is not None:
        return replace(
            dataset,
            captions=[held.beginnings.texts[-1] for held in parts.captions],
            caption_image=np.array([held.image for held in parts.captions], np.int64),
            caption_ids=[held.id for held in parts.captions],
            caption_beginnings=[held.beginnings for held in parts.captions],
        )
    return dataset


def _modalities(arrays: Arrays) -> Modalities | None:
    names = modalities_of(arrays)
    if set(names) <= {IMAGE, TEXT}:
        return None
    ids = {name: _names(arrays, f"{name}{IDS}", array_name(name), "") for name in names}
    items: dict[str, Sequence[object]] = {}
    for name, modality_ids in ids.items():
        items[name] = [VectorRow(row, id) for row, id in enumerate(modality_ids)]
    if TEXT in items:
        items[TEXT] = _names(arrays, "text_ids", "texts", "text ")
    link_rows = {link: arrays[LINK.join(link)] for link in permutations(names, 2) if LINK.join(link) in arrays}
    pairs = pairs_of({name: len(modality_ids) for name, modality_ids in ids.items()}, link_rows)
    return Modalities(items, ids, pairs)


def _text_to_image(arrays: Arrays) -> np.ndarray | None:
    if "text_to_image" in arrays:
        return arrays["text_to_image"]
    n_images, n_texts = len(arrays.get("images", ())), len(arrays.get("texts", ()))
    return np.arange(n_images) if n_images == n_texts and n_images else None


def _names(arrays: Arrays, ids: str, rows: str, prefix: str) -> list[str]:
    """Return the names of the rows of an array, or none without the array."""
    if ids in arrays:
        return [str(name) for name in arrays[ids]]
    return [f"{prefix}{row}" for row in range(len(arrays.get(rows, ())))]


def _missing(arrays: Arrays, parts: VectorItems) -> dict[str, str]:
    """Return what the arrays and items lack for each part of the data set that they do not have.

    Parts that they have may be named too: the reasons are read only for a part that is None.
    """
    n_images, n_texts = len(arrays.get("images", ())), len(arrays.get("texts", ()))
    if not n_images:
        return dict.fromkeys(PARTS, "images")
    missing = {
        "contrasts": f"items ({ITEMS_FILE} in a folder of arrays)",
        "attacks": f"items of attacks ({ITEMS_FILE})",
    }
    if parts.attacks is not None:
        missing |= dict.fromkeys(("captions", "caption_image", "caption_ids"), "text_to_image: its texts are classes")
    elif _text_to_image(arrays) is None:
        reason = "texts"
        if n_texts:
            reason = f"text_to_image (needed because there are {n_images} images and {n_texts} texts)"
        missing |= dict.fromkeys(("captions", "caption_image", "caption_ids"), reason)
    missing_arrays = " and ".join(name for name in ("labels", "class_texts") if name not in arrays)
    if missing_arrays:
        missing |= dict.fromkeys(("labels", "class_names", "templates"), missing_arrays)
    return missing


def _select_rows(vectors: Vectors, rows: Int64[np.ndarray, " n_rows"]) -> Float32[np.ndarray, "n_rows dim"]:
    """Return rows of vectors, as a view if the rows are consecutive: memory-mapped vectors then stay so."""
    if len(rows) and rows[-1] - rows[0] == len(rows) - 1 and (np.diff(rows) == 1).all():
        part = vectors[rows[0] : rows[-1] + 1]
        part.flags.writeable = False  # it is the caller's to read, not to change
        return part
    return np.array(vectors[rows])


def _text_rows(arrays: Arrays, source: str) -> dict[str, int]:
    """Return the row of each text, and after all texts of each prompt."""
    rows = {text: row for row, text in enumerate(_names(arrays, "text_ids", "texts", "text "))}
    for class_name in _names(arrays, "class_names", "class_texts", "class "):
        prompt = TEMPLATE.format(c=class_name)
        if prompt in rows:
            raise DataError(f"{source}: text_ids has '{prompt}', which is reserved for class names: rename it")
        rows[prompt] = len(rows)
    return rows


def _as_array(name: str, value: object) -> np.ndarray:
    if isinstance(value, np.ma.MaskedArray):  # as an array it would have no mask
        raise UsageError(f"clipbench.vectors: '{name}' is a masked array: leave out what is masked, or fill it")
    try:
        for step in ("detach", "cpu"):
            if hasattr(value, step):
                value = getattr(value, step)()
        if str(getattr(value, "dtype", "")) == "torch.bfloat16":  # numpy has no such type
            value = value.float()  # type: ignore[attr-defined]
        array = np.asarray(value)
    except (TypeError, ValueError, NotImplementedError) as error:  # the last of a meta tensor
        raise UsageError(
            f"clipbench.vectors: '{name}' is not an array ({error}): expected rows of one length"
        ) from error
    return array.astype(str) if array.dtype == object else array
