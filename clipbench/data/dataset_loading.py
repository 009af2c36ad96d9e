"""Data sets by reference: ``load_data`` turns the text after ``@`` into a data set."""

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from clipbench import __version__
from clipbench.data import attacks, distractors, given_labels, huggingface_data, training_split
from clipbench.data.attacks import attack_files
from clipbench.data.attacks.written_words import N_WRITTEN_IMAGES, with_written_words
from clipbench.data.catalogue import entries
from clipbench.data.catalogue.entries import CatalogueEntry, catalogue
from clipbench.data.catalogue.shards import ShardSelection, find_shards, load_shards
from clipbench.data.contrasts import contrast_files
from clipbench.data.dataset import DataOptions, Dataset, check, without_options
from clipbench.data.prompts import read_class_names, with_class_names
from clipbench.data.readers import (
    eccv_caption,
    image_folder,
    languages,
    long_captions,
    manifest,
    real_labels,
    webdataset,
)
from clipbench.data.readers import judged as judged_files
from clipbench.errors import DataError, UsageError, data_option, did_you_mean
from clipbench.untrusted.reading import is_file, is_folder, is_there, user_path, why_not_there

HUB_PREFIX = "hf:"
GENERATED = "scenes"
"""Name of the generated data, which differ by task."""
VAGUE_NAMES = {"images", "image", "imgs", "data", "dataset", "imagefolder", *image_folder.SPLITS}
"""Folder names that need their parent's name to make an id."""


Layout = tuple[str, Callable[[Path], bool], Callable[[Path, DataOptions, str], Dataset]]
"""A form of data on disk in words, how it is recognised, and its loader."""


TABLE: Layout = ("a table (.csv, .tsv, .jsonl, .json)", manifest.fits, manifest.load)
CLASS_FOLDERS: Layout = ("a folder with one folder of images per class", is_folder, image_folder.load)

LAYOUTS: tuple[Layout, ...] = (
    *contrast_files.LAYOUTS,
    *attack_files.LAYOUTS,
    *long_captions.LAYOUTS,
    *eccv_caption.LAYOUTS,
    *judged_files.LAYOUTS,
    *languages.LAYOUTS,
    TABLE,
    (
        "a .parquet file",
        lambda path: is_file(path) and path.suffix.lower() == ".parquet",
        huggingface_data.load_parquet,
    ),
    ("CLIP_benchmark's webdataset layout", webdataset.is_layout, webdataset.load),
    (
        "a Hugging Face data set (save_to_disk, parquet)",
        huggingface_data.is_folder_of_rows,
        huggingface_data.load_folder,
    ),
    ("a folder with a manifest", lambda path: bool(manifest.manifests_in(path)), manifest.load),
    CLASS_FOLDERS,
)
"""Tried in order, the special before the general: a folder of DOCCI holds a .jsonlines file and class-like folders."""
NOT_READ: Mapping[str, str] = {
    **dict.fromkeys((".xlsx", ".xlsm", ".xls", ".ods"), "spreadsheets are not read: got {}. Save it as CSV."),
    **dict.fromkeys(
        (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar"),
        "archives are not read: got {}. Unpack it, and give the folder or table in it.",
    ),
}
"""Messages for files that people have, by suffix."""


def load_data(reference: str, options: DataOptions) -> Dataset:
    """Return the data set that a reference stands for.

    A reference is ``scenes``, ``hf:ORG/NAME[:CONFIG[:SPLIT]]``, ``hf:PATH``, a name of the catalogue, or a path (tried
    as it is, then below the data root). A name of the catalogue always means its data set, below the data root (or
    without one in the current folder), with its published prompts and size. Your own folder of that name is ./NAME. For
    the form "attacks", words are written onto the images of a classification set. Its option ``n`` is the number of
    images, and ``train`` is a reference to images without words to train probes on, whose own options begin with
    ``train.``. For the form "training", the option ``train`` names a split to train on. For captioned data, the option
    ``distractors`` names further images that captions search.

    Raises:
        UsageError: no such name or path, an unknown option, or a choice that only the user can make.
        DataError: the data is malformed, incomplete or empty.
        Unavailable: known data that are not on this machine. The message says how to get them.
    """
    distractor_source = options.options.get(distractors.OPTION)
    options = without_options(options, distractors.OPTION)
    if training_split.has_training_split(options):
        dataset = training_split.load_splits(partial(read_data, reference), options)
    elif options.form == attacks.FORM and reference.lower() != GENERATED:
        test_options = without_options(training_split.tested_options(options), attacks.NUMBER)
        dataset = adapt_to_form(read_data(reference, test_options), options)
    else:
        dataset = read_data(reference, options)
    return dataset if distractor_source is None else distractors.with_distractors(dataset, distractor_source)


def adapt_to_form(dataset: Dataset, options: DataOptions) -> Dataset:
    """Return a data set in the form of the options. For "attacks", write words onto images without any.

    Raises UsageError for the option ``n`` if the words are there already, and MissingPart if the images have no labels.
    """
    if options.form != attacks.FORM:
        return dataset
    tested = training_split.tested_options(options)
    n = tested.whole_number(attacks.NUMBER, "the number of images to write words on", minimum=1)
    if dataset.attacks is None and dataset.contrasts is None:
        dataset = with_written_words(dataset, n=n or N_WRITTEN_IMAGES)
    else:
        tested.refuse_unknown([name for name in tested.options if name != attacks.NUMBER], dataset.id)
    name = options.options.get(training_split.OPTION)
    if name is None:
        return dataset
    return training_split.join_attacks(dataset, read_data(name, training_split.training_options(options)), name)


def depends_on_form(reference: str, form: str) -> bool:
    """Return whether a reference means different data for another form."""
    return reference.lower() == GENERATED or form in (attacks.FORM, training_split.FORM)


def read_data(reference: str, options: DataOptions) -> Dataset:
    """Return the data set of a reference as it is. All options go to its reader. Raise as ``load_data`` does."""
    if reference.lower() == GENERATED:
        from clipbench.data.scenes import SCENES_VERSION, scenes_dataset

        options.refuse_unknown(("split", "size", "n"), GENERATED)
        n, size, split = options.whole_number("n"), options.whole_number("size"), options.options.get("split", "test")
        dataset = scenes_dataset(options.form, split=split, n=n, size=size)
        cite = f"scenes {SCENES_VERSION}, the generated world of clipbench {__version__}"
        dataset = replace(dataset, cite=cite, licence="generated")
    elif reference.startswith(HUB_PREFIX):
        dataset = _load_hugging_face(reference, options)
    elif (entry := catalogue().get(reference.lower())) is not None:
        is_part = _find_shards(entry if entry.images is None else catalogue()[entry.images], options) is not None
        options = replace(options, allow_partial=options.allow_partial or is_part)  # a part need not have every class
        dataset = _load_entry(entry, options)
    else:
        path = _find_path(reference, options.data_root)
        dataset = _load_path(path, options, path_id(path, options.data_root))
    return check(with_given_classes(dataset, options), allow_partial=options.allow_partial)


def path_id(path: Path, data_root: Path | None = None) -> str:
    """Return the id of data at a path, equal on every machine: the path below the data root, or otherwise its last
    parts.

    Parts are added until the id has more than names such as ``images`` and ``test``.
    """
    absolute = Path(os.path.abspath(path))
    root = None if data_root is None else Path(os.path.abspath(data_root))
    if root is not None and root in absolute.parents:
        return absolute.relative_to(root).as_posix()
    parts = absolute.parts[1:]
    start = len(parts) - 1
    while start > 0 and (parts[start].lower() in VAGUE_NAMES or parts[start] in manifest.NAMES):
        start -= 1
    return "/".join(parts[start:])


def _find_path(reference: str, data_root: Path | None) -> Path:
    if not reference.strip():
        raise UsageError("the name of the data is empty: expected a name (clipbench list data), a path, or hf:ORG/NAME")
    user_file = user_path(reference)  # no shell expands the ~ of TASK@~/data
    for path in (user_file, *((data_root / reference,) if data_root else ())):
        if is_there(path):
            return path
    if "/" in reference or reference.startswith(".") or Path(reference).suffix:
        below = f" (nor below {data_root})" if data_root else ""
        raise UsageError(f"no such file or folder: {reference}{why_not_there(user_file)}{below}")
    raise UsageError(
        f"unknown data '{reference}': {did_you_mean(reference, [*catalogue(), GENERATED])} (or a path, or"
        " hf:ORG/NAME, or a name of clipbench list data)"
    )


def _load_path(path: Path, options: DataOptions, id: str) -> Dataset:
    """Return the data at a path, which the caller checks."""
    for _, fits, load in LAYOUTS:
        if fits(path):
            return load(path, options, id)
    raise _layout_error(path)


def _layout_error(path: Path) -> UsageError:
    """Return an error that names two layouts: first those that mention the suffix, then the usual ones."""
    if not path.is_dir() and not path.is_file():
        expected = "expected a file or a folder. Save the data as a file."
        return UsageError(f"cannot read {path}: got a FIFO, a device or a socket, {expected}")
    suffix = path.suffix.lower()
    if suffix in NOT_READ:
        return UsageError(NOT_READ[suffix].format(path))
    layouts = sorted((TABLE, CLASS_FOLDERS, *LAYOUTS), key=lambda layout: not suffix or suffix not in layout[0])
    (first, _, _), (second, _, _) = layouts[:2]
    return UsageError(f"unknown form of data: got {path}, expected {first} or {second} (docs/data.md)")


def _load_entry(entry: CatalogueEntry, options: DataOptions) -> Dataset:
    options = replace(options, options={**entry.options, **options.options})
    part = _find_shards(entry, options)
    if part is not None:
        dataset = load_shards(part, entry, entries.with_columns(part.source, entry, options))
        return entries.with_entry_facts(check(dataset, allow_partial=options.allow_partial), entry)
    folder = entries.require_folder(entry, options.data_root)
    if entry.images is not None:
        has_labels = real_labels.has_real_labels(folder)
        options.refuse_unknown(() if has_labels else (languages.LANGUAGE,), entry.name)
        images = _load_entry(catalogue()[entry.images], replace(options, options={}))
        if has_labels:
            dataset = replace(real_labels.with_real_labels(images, folder), id=entry.name)
            return entries.with_citation(dataset, entry)
        dataset = replace(languages.with_languages(images, folder, options), id=entry.name)
        return entries.with_citation(dataset, entry)  # its prompts are the languages' own
    if not any(fits(folder) for _, fits, _ in LAYOUTS[:-1]):
        folder = manifest.only_table(folder, has_captions=entry.kind == "retrieval") or folder
    dataset = _load_path(folder, entries.column_options(entry, folder, options), entry.name)
    check(dataset, allow_partial=options.allow_partial)
    dataset = replace(dataset, revision=dataset.revision or entries.read_origin(folder).get("revision"))
    dataset = entries.with_entry_facts(dataset, entry)
    if languages.LANGUAGE in options.options:  # the number of captions is that of all languages
        entry = replace(entry, n_captions=None)
    if options.options.get("judgements", eccv_caption.JUDGEMENTS[0]) != eccv_caption.JUDGEMENTS[0]:
        entry = replace(entry, n_images=None)  # the number of images that search is that of the entry's own judgements
    return entries.check_size(dataset, entry, allow_partial=options.allow_partial)


def _find_shards(entry: CatalogueEntry, options: DataOptions) -> ShardSelection | None:
    """Return the part of a data set that is enough, where the whole is not on this machine."""
    if options.n_images is None or entries.find_folder(entry, options.data_root) is not None:
        return None
    return find_shards(entry, options.data_root or Path(), options.n_images)


def _load_hugging_face(reference: str, options: DataOptions) -> Dataset:
    rest = os.path.expanduser(reference.removeprefix(HUB_PREFIX))
    name, *suffixes = [rest] if rest and is_folder(rest) else rest.split(":")
    if not name or len(suffixes) > 2:
        raise UsageError(f"data '{reference}': expected hf:ORG/NAME[:CONFIG[:SPLIT]] or hf:PATH")
    config, split = (part or None for part in [*suffixes, "", ""][:2])
    named_split = options.options.get("split")
    if None not in (split, named_split) and split != named_split:
        raise UsageError(
            f"data '{reference}' names the split '{split}', not {named_split}: remove {data_option(split=named_split)}"
        )
    if split is not None:
        options = replace(options, options={**options.options, "split": split})
    if is_folder(name):
        id = path_id(Path(name), options.data_root)
        dataset = huggingface_data.load_folder(Path(name), options, id, config=config)
        return check(dataset, allow_partial=options.allow_partial)
    if name.count("/") > 1 or name.startswith((".", "/")):
        raise UsageError(f"no such folder: {name} (data on the Hub are hf:ORG/NAME)")
    dataset = check(huggingface_data.load_hub(name, config, options), allow_partial=options.allow_partial)
    entry = entries.entry_of_repository(name)
    if entry is None:
        return dataset
    return entries.with_entry_facts(dataset, entry)


def with_given_classes(dataset: Dataset, options: DataOptions) -> Dataset:
    """Return the data set with the labels and the class names of the user.

    Raises:
        UsageError: labels would have no names, or one of the files is not of its kind.
        DataError: the labels are of other images or classes.
    """
    file = options.options.get("class_names")
    label_file = options.options.get(given_labels.OPTION)
    if label_file is not None:
        names = None if file is None else read_class_names(Path(file))
        dataset = given_labels.with_given_labels(dataset, label_file, names)
    labels = (dataset.labels, dataset.right_classes, dataset.multilabels)
    has_classes = any(column is not None for column in labels)
    if file is not None:
        if not has_classes:
            raise UsageError(f"data set {dataset.id} has no labels: remove {data_option(class_names=file)}")
        dataset = with_class_names(dataset, read_class_names(Path(file)), source=file)
    if has_classes and dataset.class_names is None:
        raise DataError(
            f"data set {dataset.id} numbers its classes and does not name them: give the names, one per line in the"
            f" order of the numbers, with {data_option(class_names='FILE')}"
        )
    return dataset
