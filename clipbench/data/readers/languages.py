"""Captions in many languages, and class names in many languages, as their authors publish them.

Each caption has its language as its group, so that metrics are given for each language and for their mean. The overall
metrics are only of English. The option ``language`` (one, or several with commas) takes some, the first for all data.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from clipbench.data.dataset import DataOptions, Dataset
from clipbench.data.labels import Groups, LabelSet
from clipbench.data.prompts import PLACEHOLDER
from clipbench.data.readers.long_captions import FileCaption, captioned_dataset, image_folder
from clipbench.errors import DataError, UsageError, data_option, did_you_mean
from clipbench.untrusted import text_tables
from clipbench.untrusted.reading import decode_json, is_file, matching, open_text, read_json, read_text, reading, shown

LANGUAGE = "language"
"""Name of the option, and of the groups."""
ENGLISH = ("en", "eng_Latn")


# -- Crossmodal-3600 (Thapliyal et al., EMNLP 2022): 3,600 images, each with about two captions in each of 36 languages
#
#    captions.jsonl    {"image/key": ..., "en": {"caption": [...], ...}, "de": {...}, ...}
#    images/           KEY.jpg

XM3600_FILE, XM3600_KEY = "captions.jsonl", "image/key"
HEAD_CHARACTERS = 1 << 20
"""Characters of a line that are read to recognize a file. A line of Crossmodal-3600 has about 30,000."""


def fits_xm3600(path: Path) -> bool:
    """Return whether a folder has captions in the form of Crossmodal-3600, by the first line."""
    file = path / XM3600_FILE
    if not is_file(file):
        return False
    try:
        with reading(file, DataError), open_text(file) as lines:
            first = decode_json(lines.readline(HEAD_CHARACTERS))
    except (DataError, ValueError):
        return False  # a manifest's reader says what is wrong
    return isinstance(first, dict) and XM3600_KEY in first


def load_xm3600(path: Path, options: DataOptions, id: str) -> Dataset:
    """Return the images with their captions in all languages: ``captions=first`` takes the first of each image.

    CLIP_benchmark, and with it open_clip's table, takes the first. Babel-ImageNet's authors and MIEB take all.
    """
    options.refuse_unknown((LANGUAGE, "captions", "images"), id)
    choice = options.options.get("captions", "all")
    if choice not in ("all", "first"):
        raise UsageError(f"{data_option(captions=choice)}: expected all or first")
    folder = image_folder(options, [path / "images"])
    captions = list(_xm3600_captions(path / XM3600_FILE, folder, max_captions=1 if choice == "first" else None))
    return _dataset(captions, folder, options, id)


def _xm3600_captions(file: Path, folder: Path, max_captions: int | None) -> Iterator[FileCaption]:
    with reading(file, DataError):
        for line, row in text_tables.READERS[".jsonl"](file):
            key = row.get(XM3600_KEY)
            if not isinstance(key, str) or not key:
                raise DataError(f"{file}, line {line}: expected the image in {XM3600_KEY}, got {shown(key)}")
            image = folder / f"{key}.jpg"
            for language, record in row.items():
                if isinstance(record, Mapping):  # the other fields are of the image
                    texts = _texts(record.get("caption"), f"{file}, line {line}, {language}")
                    for number, text in enumerate(texts[:max_captions]):
                        yield _caption(image, f"{key}.jpg", language, text, number)


def _texts(value: object, location: str) -> Sequence[str]:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise DataError(f"{location}: expected a list of texts as caption, got {shown(value)}")
    return value


# -- XTD-10 (Aggarwal and Kale 2020) and translations in its form, XTD200 and Flickr30k-200 (Visheratin 2023)
#
#    test_image_names.txt or filenames.txt              file names of images, one a line
#    test_1kcaptions_de.txt, ... or deu_Latn.txt, ...   captions of these images, one a line
#    images/ or XTD10_dataset/

IMAGE_LISTS = ("test_image_names.txt", "filenames.txt")
IMAGE_FOLDERS = ("images", "XTD10_dataset")
CAPTION_FILE = re.compile(r"(?:test_1kcaptions_)?([a-z]{2,3}(?:_[A-Z][a-z]{3})?)\.txt")


def fits_lines(path: Path) -> bool:
    """Return whether a folder has a list of images, and captions line by line in some language."""
    return any(is_file(path / name) for name in IMAGE_LISTS) and bool(_caption_files(path))


def load_lines(path: Path, options: DataOptions, id: str) -> Dataset:
    """Return the images with a caption in each language."""
    options.refuse_unknown((LANGUAGE, "images"), id)
    names = _lines(next(path / name for name in IMAGE_LISTS if is_file(path / name)))
    by_language = {language: _lines(file) for language, file in _caption_files(path).items()}
    for language, texts in by_language.items():
        if len(texts) != len(names):
            raise DataError(
                f"{path} has {len(texts)} captions in {language} and {len(names)} images: "
                "expected one caption per image"
            )
    folder = image_folder(options, [*(path / name for name in IMAGE_FOLDERS), path])
    captions = []
    for row, name in enumerate(names):
        for language, texts in by_language.items():
            captions.append(_caption(folder / name, name, language, texts[row]))
    return _dataset(captions, folder, options, id)


def _caption_files(path: Path) -> dict[str, Path]:
    matches = ((CAPTION_FILE.fullmatch(file.name), file) for file in matching(path, "*.txt"))
    return {match[1]: file for match, file in matches if match}


def _lines(file: Path) -> list[str]:
    return read_text(file, DataError).splitlines()


# -- Babel-ImageNet (Geigle, Timofte and Glavaš 2023): names of ImageNet's classes in 298 languages, in each of those
#    classes that BabelNet names, and ImageNet's 80 templates in 89 of them, translated by a machine
#
#    babel_imagenet-298.json      {"DE": [[0, 1, ...], ["Schleie", ...]], ...}    numbers and names of classes
#    nllb_dist13b_prompts.json    {"DE": ["ein schlechtes Foto von einem {} .", ...], ...}

BABEL_NAMES, BABEL_PROMPTS = "babel_imagenet-298.json", "nllb_dist13b_prompts.json"


def with_languages(imagenet: Dataset, path: Path, options: DataOptions) -> Dataset:
    """Return ImageNet with its classes in other languages as slices: all with templates, or the chosen ones.

    If only one language is named, there are no slices: the images of its classes are left, with its names and
    templates.
    """
    names, prompts = _by_language(path / BABEL_NAMES), _by_language(path / BABEL_PROMPTS)
    sets = {}
    for language, classes in names.items():
        has_prompts = LANGUAGE in options.options or language in prompts
        if has_prompts and language not in ENGLISH:
            location = f"{path / BABEL_NAMES}, {language}"
            sets[language] = _label_set(imagenet, classes, prompts.get(language), location)
    chosen = {language: sets[language] for language in _choose_languages(list(sets), options)}
    if LANGUAGE in options.options and len(chosen) == 1:
        return imagenet.take_classes(*chosen.values())
    notes = (*imagenet.notes, "the overall metrics are of English names, and other languages are slices")
    return replace(imagenet, label_slices={LANGUAGE: chosen}, notes=notes)


def _by_language(file: Path) -> dict[str, object]:
    table = read_json(file, DataError)
    if not isinstance(table, dict):
        raise DataError(f"{file}: expected an object with an entry for each language")
    return {str(language).lower(): content for language, content in table.items()}


def _label_set(imagenet: Dataset, classes: object, templates: object, location: str) -> LabelSet:
    """Return the classes of one language, whose names are the prompts if there are no templates."""
    imagenet.require("labels", "class_names")
    assert imagenet.labels is not None and imagenet.class_names is not None
    numbers, names = classes if isinstance(classes, list) and len(classes) == 2 else ([], [])
    n_classes = len(imagenet.class_names)
    is_sound = isinstance(numbers, list) and all(
        isinstance(number, int) and 0 <= number < n_classes for number in numbers
    )
    if not numbers or not is_sound or len(set(numbers)) != len(numbers) or len(_texts(names, location)) != len(numbers):
        raise DataError(
            f"{location}: expected a list of distinct class numbers below {n_classes}, and a list with one name for"
            " each"
        )
    class_rows = np.full(n_classes, -1, np.int64)
    class_rows[numbers] = np.arange(len(numbers))
    texts = ["{}"] if templates is None else _texts(templates, f"{BABEL_PROMPTS}, {location}")
    prompts = tuple(text.replace("{}", PLACEHOLDER) for text in texts)
    return LabelSet(class_rows[imagenet.labels], tuple(names), prompts)


# -- what they share


def _caption(file: Path, image: str, language: str, text: str, number: int = 0) -> FileCaption:
    return FileCaption(file, image, text, f"{image}:{language}{number}", language)


def _choose_languages(languages: Sequence[str], options: DataOptions) -> list[str]:
    requested = options.options.get(LANGUAGE)
    if requested is None:
        return list(languages)
    chosen = list(dict.fromkeys(name.strip() for name in requested.split(",")))
    for language in chosen:
        if language not in languages:
            raise UsageError(f"{data_option(language=requested)}: no '{language}': {did_you_mean(language, languages)}")
    return chosen


def _dataset(captions: Sequence[FileCaption], folder: Path, options: DataOptions, id: str) -> Dataset:
    """Return the data set of the captions in the chosen languages, with a note on blank ones, which are dropped."""
    if not captions:
        raise DataError(f"data set {id} holds no captions in any language")
    languages = _choose_languages(list(dict.fromkeys(caption.language for caption in captions)), options)
    requested = [caption for caption in captions if caption.language in languages]
    nonblank = [caption for caption in requested if caption.text.strip()]
    dataset = captioned_dataset(nonblank, folder, options, id)
    notes = dataset.notes
    if len(nonblank) < len(requested):
        notes += (f"{len(requested) - len(nonblank)} captions are blank and were left out",)
    if len(languages) == 1:
        return replace(dataset, notes=notes)
    firsts = ENGLISH if LANGUAGE not in options.options else ()
    main = next((language for language in firsts if language in languages), languages[0])
    notes += (f"the overall metrics are of the language {main}, and other languages are slices",)
    present = set(dataset.image_ids)
    groups = Groups(
        [caption.language for caption in nonblank if caption.image_id in present], of_captions=True, main=main
    )
    return replace(dataset, groups={LANGUAGE: groups}, notes=notes)


LAYOUTS = (
    ("Crossmodal-3600 (captions.jsonl, images/)", fits_xm3600, load_xm3600),
    ("captions line by line (XTD-10, Flickr30k-200)", fits_lines, load_lines),
)
