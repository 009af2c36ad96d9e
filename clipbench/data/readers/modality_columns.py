"""Data of several modalities from columns: a list of items for each modality, their ids, and rows that pair them."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int64

from clipbench.data.dataset import Dataset
from clipbench.data.images import ImageRef
from clipbench.data.modalities import IDS, IMAGE, LINK, NAME, TEXT, Item, Modalities, pairs_of
from clipbench.errors import DataError, did_you_mean

ID = "memory"
"""Id of data in memory: they have no name."""


def from_columns(columns: Mapping[Any, Any], image: Callable[[object, str], ImageRef]) -> Dataset:
    """Return data of several modalities; images and texts among them are its images and captions too.

    Args:
        columns: items by modality; ``audio_ids`` are the names of those of ``audio``, and ``audio_to_text`` is the row of
            each one's text. Without such rows, item i of two modalities with as many items belongs to item i.
        image: returns an image as a reference, from what the column has and its place for messages.

    Raises:
        DataError: a column is no list, or has a name that says nothing.

    Example:
        >>> data = from_columns({"audio": [b"x", b"y"], "text": ["dog", "cat"]}, image=lambda cell, place: cell)
        >>> data.modalities.names, data.modalities.pairs["audio", "text"].tolist()
        (['audio', 'text'], [0, 1])
    """
    lists = {str(name): _as_list(str(name), cells) for name, cells in columns.items()}
    names = [name for name in lists if not name.endswith(IDS) and LINK not in name]
    _refuse_names(lists, names)
    items = {name: _items(name, lists[name], image) for name in names}
    ids = {name: _ids(name, lists) for name in names}
    links = [(source, target) for source in names for target in names if f"{source}{LINK}{target}" in lists]
    given = {link: _rows(LINK.join(link), lists[LINK.join(link)]) for link in links}
    modalities = Modalities(items, ids, pairs_of({name: len(each) for name, each in items.items()}, given))
    captions = _captions(modalities)
    return Dataset(
        id=ID,
        images=items.get(IMAGE, []),
        image_ids=ids.get(IMAGE, []),
        has_ids=all(f"{name}{IDS}" in lists for name in names),
        modalities=None if captions and set(names) == {IMAGE, TEXT} else modalities,
        **captions,
    )


def _captions(modalities: Modalities) -> dict[str, Any]:
    """Return the texts as captions, where each has an image, and each image a text."""
    owner = modalities.pairs.get((TEXT, IMAGE))
    of_images = modalities.pairs.get((IMAGE, TEXT))
    if of_images is not None and np.array_equal(of_images, np.arange(len(modalities.items[TEXT]))):
        owner = of_images  # row i and row i, whichever of the two points to the other
    if owner is None or len(np.unique(owner)) < len(modalities.items[IMAGE]):
        return {}
    return {"captions": modalities.items[TEXT], "caption_image": owner, "caption_ids": modalities.ids[TEXT]}


def _as_list(name: str, cells: Any) -> list[Any]:
    if isinstance(cells, str | bytes | Mapping) or not hasattr(cells, "__iter__"):
        raise DataError(f"data: '{name}' is of type {type(cells).__name__}: expected a list of items")
    return list(cells)


def _refuse_names(lists: Mapping[str, list[Any]], names: Sequence[str]) -> None:
    links = [f"{source}{LINK}{target}" for source in names for target in names if source != target]
    known = [*names, *(f"{name}{IDS}" for name in names), *links]
    for name in lists:
        if name in ("images", "texts"):
            raise DataError(f"data: '{name}' is no modality: call it '{name[:-1]}'")
        if name not in known or (name in names and not NAME.fullmatch(name)):
            hint = did_you_mean(name, [each for each in known if each != name])
            raise DataError(f"data: '{name}' is neither a modality nor says which items belong together: {hint}")
        backwards = LINK.join(reversed(name.split(LINK))) if name in links else ""
        if backwards in lists:
            raise DataError(
                f"data: '{name}' and '{backwards}' are given: keep the one from the modality with more items"
            )


def _items(name: str, cells: list[Any], image: Callable[[object, str], ImageRef]) -> list[Any]:
    places = [f"data, {name} {row}" for row in range(len(cells))]
    if name == IMAGE:
        return [image(cell, place) for cell, place in zip(cells, places, strict=True)]
    if name == TEXT:
        wrong = next((row for row, cell in enumerate(cells) if not isinstance(cell, str) or not cell.strip()), None)
        if wrong is not None:
            raise DataError(f"{places[wrong]} is {cells[wrong]!r:.60}: expected a text")
        return cells
    return [Item(cell, f"{row}") for row, cell in enumerate(cells)]


def _ids(name: str, lists: Mapping[str, list[Any]]) -> list[str]:
    """Return the ids of items: those that were given, or paths where each item is another one, or else rows."""
    given, cells = lists.get(f"{name}{IDS}"), lists[name]
    if given is not None:
        return list(map(str, given))
    are_paths = name != TEXT and all(isinstance(cell, str | os.PathLike) for cell in cells)
    paths = [os.fspath(cell) for cell in cells] if are_paths else []
    return paths if paths and len(set(paths)) == len(paths) else [str(row) for row in range(len(cells))]


def _rows(name: str, cells: list[Any]) -> Int64[np.ndarray, " n"]:
    rows = np.array(cells, dtype=object if not cells else None)
    if rows.ndim != 1 or rows.dtype.kind not in "iu":
        raise DataError(
            f"data: '{name}' holds {rows.dtype} of shape {rows.shape}: expected row numbers, counted from 0"
        )
    return rows.astype(np.int64)
