"""ECCV Caption (Chun et al., ECCV 2022): which captions are right for an image of COCO's test split, and which images
for a caption.

    eccv_image_to_caption.json        {"373119": [560256, ...]}   images as queries, and captions that people found
    right, by COCO's ids eccv_caption_to_image.json        {"552666": [445512, ...]}   captions as queries, and images
    original_image_to_caption.json    the 5,000 images and 25,000 captions that are searched captions_val2014.json
    COCO's own captions and names of files, here or in annotations/ val2014/                          COCO's images

The first three come with the authors' repository, which may lie in the folder as it is. Its other judgements, cxc_...
(CxC, Parekh et al. 2021) and original_... (COCO's own captions), have the same form; a file of these is needed only
where it is asked for.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from clipbench.data.dataset import DataOptions, Dataset
from clipbench.data.images import FileImage
from clipbench.data.readers.judged import Item, Judgement, id_of_file, judged_dataset, with_files
from clipbench.errors import DataError, Unavailable, UsageError, data_option, did_you_mean, option
from clipbench.untrusted.reading import is_file, is_folder, is_int64, read_json, user_path

DIRECTIONS = {"t2i": "caption_to_image", "i2t": "image_to_caption"}
"""Text-to-image and image-to-text, as the authors call them, and the ends of the files' names."""
JUDGEMENTS = ("eccv", "cxc", "original")
PLACES = ("", "eccv_caption/data", "data")
"""Folders that may hold the judgements."""
COCO_PLACES, ANNOTATIONS = ("", "coco"), ("captions_val2014.json", "annotations/captions_val2014.json")
IMAGE_PLACES = ("val2014", "images/val2014", "images", "")
WEB = "http://images.cocodataset.org"
AUTHORS = "https://raw.githubusercontent.com/naver-ai/eccv-caption/b51f56c/eccv_caption/data"

Pairs = Mapping[int, Sequence[int]]


def fits(path: Path) -> bool:
    """Return whether a folder has the judgements of ECCV Caption, in both directions."""
    return is_folder(path) and _folder(path) is not None


def load(path: Path, options: DataOptions, id: str) -> Dataset:
    """Return the queries of one direction and all that they search, with the judgements.

    The option ``direction`` is ``t2i`` or ``i2t``; ``judgements`` is ``eccv`` (the default), ``cxc`` or ``original``;
    and ``coco`` names the folder of COCO's captions and images, if they lie neither here, nor in ``coco`` here or below
    the data root.
    """
    options.refuse_unknown(("direction", "judgements", "coco"), id)
    direction = _chosen(options, "direction", tuple(DIRECTIONS), None)
    kind = _chosen(options, "judgements", JUDGEMENTS, JUDGEMENTS[0])
    folder, coco = _folder(path), _coco(path, options, id)
    assert folder is not None
    judged = _pairs(_file(folder, f"{kind}_{DIRECTIONS[direction]}.json", id))
    searched = _pairs(_file(folder, f"original_{DIRECTIONS['i2t']}.json", id))
    captions, file_names = _read_coco(coco)
    root = coco.parent.parent if coco.parent.name == "annotations" else coco.parent
    first = next(iter(file_names.values()))
    images = next((root / place for place in IMAGE_PLACES if is_file(root / place / first)), root / IMAGE_PLACES[0])
    in_split = list(dict.fromkeys(searched if direction == "t2i" else chain.from_iterable(searched.values())))
    documents = dict.fromkeys([*in_split, *chain.from_iterable(judged.values())])
    of_coco = {
        "image": {id: Item(str(id), "", FileImage(images / name)) for id, name in file_names.items()},
        "caption": {id: Item(str(id), text, None) for id, text in captions.items()},
    }
    kind_searched, query_kind = ("image", "caption") if direction == "t2i" else ("caption", "image")
    asked, asked_notes = _in_coco(judged, query_kind, of_coco[query_kind], coco, options, searches=True)
    gallery, gallery_notes = _in_coco(documents, kind_searched, of_coco[kind_searched], coco, options, searches=False)
    advice = f"fetch {WEB}/zips/val2014.zip into {root}, or name the folder of COCO with {data_option(coco='FOLDER')}"
    sides, image_notes = with_files((asked, gallery), images, options, id, advice=advice)
    pairs = [Judgement(str(of), str(each), 1) for of, right in judged.items() for each in dict.fromkeys(right)]
    dataset = judged_dataset(sides, pairs, options, id, image_id=lambda image: id_of_file(image, images))
    n_more = len(documents) - len(in_split)
    beyond = f"{kind_searched}s judged right beyond the {len(in_split):,} of the split ({n_more:,}): searched too"
    notes = (*((beyond,) if n_more else ()), *gallery_notes, *asked_notes)
    split = direction if kind == JUDGEMENTS[0] else f"{kind}-{direction}"
    return replace(dataset, split=split, notes=(*notes, *image_notes))


def _chosen(options: DataOptions, name: str, known: Sequence[str], default: str | None) -> str:
    value = options.options.get(name, default)
    if value is None:
        one, other = (data_option(**{name: each}) for each in known)
        raise UsageError(f"judgements go both ways: name {one} or {other}")
    if value not in known:
        raise UsageError(f"{data_option(**{name: value})}: {did_you_mean(value, known)}")
    return value


def _folder(path: Path) -> Path | None:
    files = [f"{JUDGEMENTS[0]}_{end}.json" for end in DIRECTIONS.values()]
    return next((path / place for place in PLACES if all(is_file(path / place / file) for file in files)), None)


def _file(folder: Path, name: str, id: str) -> Path:
    if not is_file(folder / name):
        raise Unavailable(f"data set {id} lacks {folder / name}: fetch {AUTHORS}/{name} into {folder}")
    return folder / name


def _coco(path: Path, options: DataOptions, id: str) -> Path:
    given = options.options.get("coco")
    roots = [path, *([options.data_root / "coco"] if options.data_root else [])]
    folders = [user_path(given)] if given is not None else [root / place for root in roots for place in COCO_PLACES]
    found = next((folder / name for folder in folders for name in ANNOTATIONS if is_file(folder / name)), None)
    if found is None:
        raise Unavailable(
            f"data set {id} lacks COCO's captions: looked for {ANNOTATIONS[0]} in {', '.join(map(str, folders))}; fetch"
            f" {WEB}/annotations/annotations_trainval2014.zip and {WEB}/zips/val2014.zip into {folders[0]}, or name the"
            f" folder of COCO with {data_option(coco='FOLDER')}"
        )
    return found


def _pairs(file: Path) -> Pairs:
    content = read_json(file, DataError)
    if not isinstance(content, dict) or not content:
        raise DataError(f'{file}: expected an object such as {{"373119": [560256, 646721]}}')
    for query, right in content.items():
        is_list = isinstance(right, list) and bool(right) and all(type(each) is int for each in right)
        if not is_int64(query) or not is_list:
            raise DataError(f"{file}: '{query:.20}' has {str(right)[:40]}, expected an id of COCO and a list of ids")
    return {int(query): right for query, right in content.items()}


def _read_coco(file: Path) -> tuple[dict[int, str], dict[int, str]]:
    content = read_json(file, DataError)
    try:
        captions = {each["id"]: str(each["caption"]).strip() for each in content["annotations"]}
        names = {each["id"]: _file_name(each, file) for each in content["images"]}
    except (TypeError, KeyError) as error:
        raise DataError(f"{file} is no file of COCO's captions: expected images and annotations with ids") from error
    if not names:
        raise DataError(f"{file} has no images: expected COCO's captions of val2014")
    return captions, names


def _file_name(image: Any, file: Path) -> str:
    name = image["file_name"]
    if not isinstance(name, str) or not name or Path(name).name != name:
        raise DataError(f"{file}: image {image['id']} has the file_name {str(name)[:60]!r}, expected no folders")
    return name


def _in_coco(
    ids: Collection[int], what: str, of_coco: Mapping[int, Item], file: Path, options: DataOptions, *, searches: bool
) -> tuple[list[Item], list[str]]:
    """Return the images or captions that COCO has, and with ``allow_partial`` a note of those that it lacks.

    ``searches`` is True for queries, of which one must be left.
    """
    present = [of_coco[each] for each in ids if each in of_coco]
    absent = [each for each in ids if each not in of_coco]
    if not absent:
        return present, []
    if not options.allow_partial:
        role = "searches" if searches else "is searched"
        raise DataError(
            f"{file} has no {what} {absent[0]}, which {role}: expected val2014; {option('allow_partial', True)} leaves"
            " it out"
        )
    if searches and not present:
        raise DataError(f"{file} has no {what} that searches, such as {absent[0]}: expected COCO's captions of val2014")
    role = "search" if searches else "are searched"
    return present, [f"{what}s that {role} and are not in {file.name} ({len(absent):,}): left out"]


LAYOUTS = (("ECCV Caption (eccv_caption_to_image.json, and COCO's captions and images)", fits, load),)
