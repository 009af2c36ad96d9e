"""ECCV Caption (Chun et al., ECCV 2022): which captions are right for an image of COCO's test split, and which images
for a caption.

    eccv_image_to_caption.json        {"373119": [560256, ...]}, an image and captions that people found right, as
                                      ids of COCO
    eccv_caption_to_image.json        {"552666": [445512, ...]}, a caption and such images
    original_image_to_caption.json    the 5,000 images and 25,000 captions that are searched
    captions_val2014.json             COCO's own captions and names of files, here or in annotations/
    val2014/                          COCO's images

The first three come with the authors' repository, which may be in the folder as it is. Its other judgements, cxc_...
(CxC, Parekh et al. 2021) and original_... (COCO's own captions), have the same form. A file of these is needed only if
the options request it.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from clipbench.data.dataset import DataOptions, Dataset
from clipbench.data.images import FileImage
from clipbench.data.readers.judged import ItemColumns, Judgement, dataset_of_files
from clipbench.errors import DataError, Unavailable, UsageError, data_option, did_you_mean, option
from clipbench.untrusted.reading import is_file, is_folder, is_int64, read_json, user_path

DIRECTIONS = {"t2i": ("caption", "image"), "i2t": ("image", "caption")}
"""Text-to-image and image-to-text, as the authors call them: what searches, and what is searched."""
FILE = "{}_{}_to_{}.json"
"""Name of a file of judgements, with the kinds of what searches and what is searched."""
JUDGEMENTS = ("eccv", "cxc", "original")
JUDGEMENT_FOLDERS = ("", "eccv_caption/data", "data")
"""Folders that may hold the judgements."""
COCO_FOLDERS, ANNOTATIONS = ("", "coco"), ("captions_val2014.json", "annotations/captions_val2014.json")
IMAGE_FOLDERS = ("val2014", "images/val2014", "images", "")
WEB = "http://images.cocodataset.org"
AUTHORS = "https://raw.githubusercontent.com/naver-ai/eccv-caption/b51f56c/eccv_caption/data"

Pairs = Mapping[int, Sequence[int]]


def fits(path: Path) -> bool:
    """Return whether a folder has the judgements of ECCV Caption, in both directions."""
    return is_folder(path) and _folder(path) is not None


def load(path: Path, options: DataOptions, id: str) -> Dataset:
    """Return the queries of one direction and all that they search, with the judgements.

    The option ``direction`` is ``t2i`` or ``i2t``, ``judgements`` is ``eccv`` (the default), ``cxc`` or ``original``,
    and ``coco`` is the folder of COCO's captions and images, if they are neither here, nor in ``coco`` here or below
    the data root.
    """
    options.refuse_unknown(("direction", "judgements", "coco"), id)
    direction = _choose(options, "direction", tuple(DIRECTIONS), None)
    query_kind, kind_searched = DIRECTIONS[direction]
    kind = _choose(options, "judgements", JUDGEMENTS, JUDGEMENTS[0])
    folder, coco = _folder(path), _find_coco_captions(path, options, id)
    assert folder is not None
    judged_pairs = _read_pairs(_file(folder, FILE.format(kind, query_kind, kind_searched), id))
    split_pairs = _read_pairs(_file(folder, FILE.format("original", "image", "caption"), id))
    captions, file_names = _read_coco(coco)
    root = coco.parent.parent if coco.parent.name == "annotations" else coco.parent
    first_name = next(iter(file_names.values()))
    image_folders = [root / subfolder for subfolder in IMAGE_FOLDERS]
    images = next((folder for folder in image_folders if is_file(folder / first_name)), image_folders[0])
    # The pairs of the split are of images with their captions: the images are searched by the captions.
    searched = split_pairs if direction == "t2i" else chain.from_iterable(split_pairs.values())
    in_split = list(dict.fromkeys(searched))
    documents = dict.fromkeys([*in_split, *chain.from_iterable(judged_pairs.values())])
    of_coco = {"image": file_names, "caption": captions}
    query_ids, query_notes = _match_coco(judged_pairs, query_kind, of_coco[query_kind], coco, options, searches=True)
    gallery_ids, gallery_notes = _match_coco(
        documents, kind_searched, of_coco[kind_searched], coco, options, searches=False
    )
    items_of = {"image": partial(_image_items, images, file_names), "caption": partial(_caption_items, captions)}
    queries, gallery = items_of[query_kind](query_ids), items_of[kind_searched](gallery_ids)
    advice = f"fetch {WEB}/zips/val2014.zip into {root}, or name the folder of COCO with {data_option(coco='FOLDER')}"
    pairs = []
    for query_id, relevant in judged_pairs.items():
        for document_id in dict.fromkeys(relevant):
            pairs.append(Judgement(str(query_id), str(document_id), 1))
    dataset = dataset_of_files((queries, gallery), pairs, images, options, id, advice=advice)
    n_more = len(documents) - len(in_split)
    beyond = f"{kind_searched}s judged right beyond the {len(in_split):,} of the split ({n_more:,}): searched too"
    notes = (*((beyond,) if n_more else ()), *gallery_notes, *query_notes)
    split = direction if kind == JUDGEMENTS[0] else f"{kind}-{direction}"
    return replace(dataset, split=split, notes=(*notes, *dataset.notes))


def _choose(options: DataOptions, name: str, choices: Sequence[str], default: str | None) -> str:
    chosen = options.options.get(name, default)
    if chosen is None:
        one, other = (data_option(**{name: choice}) for choice in choices)
        raise UsageError(f"the data has judgements for both directions of search: choose {one} or {other}")
    if chosen not in choices:
        raise UsageError(f"{data_option(**{name: chosen})}: {did_you_mean(chosen, choices)}")
    return chosen


def _folder(path: Path) -> Path | None:
    files = [FILE.format(JUDGEMENTS[0], *kinds) for kinds in DIRECTIONS.values()]
    for subfolder in JUDGEMENT_FOLDERS:
        folder = path / subfolder
        if all(is_file(folder / file) for file in files):
            return folder
    return None


def _file(folder: Path, name: str, id: str) -> Path:
    if not is_file(folder / name):
        raise Unavailable(f"data set {id} lacks {folder / name}: fetch {AUTHORS}/{name} into {folder}")
    return folder / name


def _find_coco_captions(path: Path, options: DataOptions, id: str) -> Path:
    user_folder = options.options.get("coco")
    if user_folder is not None:
        folders = [user_path(user_folder)]
    else:
        folders = [path / subfolder for subfolder in COCO_FOLDERS]
        if options.data_root:
            folders += [options.data_root / "coco" / subfolder for subfolder in COCO_FOLDERS]
    for folder in folders:
        for name in ANNOTATIONS:
            if is_file(folder / name):
                return folder / name
    raise Unavailable(
        f"data set {id} lacks COCO's captions: looked for {ANNOTATIONS[0]} in"
        f" {', '.join(map(str, folders))}. Fetch {WEB}/annotations/annotations_trainval2014.zip and"
        f" {WEB}/zips/val2014.zip into {folders[0]}, or name the folder of COCO with"
        f" {data_option(coco='FOLDER')}"
    )


def _read_pairs(file: Path) -> Pairs:
    content = read_json(file, DataError)
    if not isinstance(content, dict) or not content:
        raise DataError(f'{file}: expected an object such as {{"373119": [560256, 646721]}}')
    for query, relevant in content.items():
        is_list = (
            isinstance(relevant, list) and bool(relevant) and all(type(document_id) is int for document_id in relevant)
        )
        if not is_int64(query) or not is_list:
            raise DataError(f"{file}: '{query:.20}' has {str(relevant)[:40]}, expected an id of COCO and a list of ids")
    return {int(query): relevant for query, relevant in content.items()}


def _read_coco(file: Path) -> tuple[dict[int, str], dict[int, str]]:
    content = read_json(file, DataError)
    try:
        captions = {annotation["id"]: str(annotation["caption"]).strip() for annotation in content["annotations"]}
        names = {image["id"]: _file_name(image, file) for image in content["images"]}
    except (TypeError, KeyError) as error:
        raise DataError(f"{file} is not a file of COCO's captions: expected images and annotations with ids") from error
    if not names:
        raise DataError(f"{file} has no images: expected COCO's captions of val2014")
    return captions, names


def _file_name(image: Any, file: Path) -> str:
    name = image["file_name"]
    if not isinstance(name, str) or not name or Path(name).name != name:
        raise DataError(f"{file}: image {image['id']} has the file_name {str(name)[:60]!r}, expected no folders")
    return name


def _image_items(folder: Path, file_names: Mapping[int, str], ids: Sequence[int]) -> ItemColumns:
    blanks = [""] * len(ids)
    images = [FileImage(folder / file_names[id]) for id in ids]
    return ItemColumns(ids=list(map(str, ids)), texts=blanks, images=images, languages=blanks)


def _caption_items(captions: Mapping[int, str], ids: Sequence[int]) -> ItemColumns:
    texts = [captions[id] for id in ids]
    return ItemColumns(list(map(str, ids)), texts, images=[None] * len(ids), languages=[""] * len(ids))


def _match_coco(
    ids: Collection[int],
    kind: str,
    coco_ids: Collection[int],
    file: Path,
    options: DataOptions,
    *,
    searches: bool,
) -> tuple[list[int], list[str]]:
    """Return the ids of the images or captions that COCO has, and with ``allow_partial`` a note of those that it lacks.

    ``searches`` is True for queries, of which one must be left.
    """
    present = [id for id in ids if id in coco_ids]
    absent = [id for id in ids if id not in coco_ids]
    if not absent:
        return present, []
    if not options.allow_partial:
        role = "is a query" if searches else "is searched"
        raise DataError(
            f"{file} has no {kind} {absent[0]}, which {role}: expected COCO's captions of val2014."
            f" {option('allow_partial', True)} leaves out each missing {kind}"
        )
    if searches and not present:
        raise DataError(
            f"{file} has none of the {kind}s that are queries, such as {kind} {absent[0]}: expected COCO's captions of"
            " val2014"
        )
    role = "search" if searches else "are searched"
    return present, [f"{kind}s that {role} and are not in {file.name} ({len(absent):,}): left out"]


LAYOUTS = (("ECCV Caption (eccv_caption_to_image.json, and COCO's captions and images)", fits, load),)
