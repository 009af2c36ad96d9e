"""Distractors: unlabelled images that captions search in addition to the data's own, ``--data-option
distractors=FOLDER|SHARDS``.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from clipbench.data.dataset import Dataset
from clipbench.data.images import FileImage, ImageRef
from clipbench.data.readers.image_folder import scan
from clipbench.data.readers.webdataset import samples_in
from clipbench.errors import DataError, UsageError, data_option
from clipbench.untrusted.reading import is_folder, is_there, user_path, why_not_there

OPTION = "distractors"
SHARD = ".tar"


def with_distractors(dataset: Dataset, source: str) -> Dataset:
    """Return captioned data with the images of a folder or of shards.

    Raises:
        UsageError: the data has no captions, or there are no images there.
        DataError: a link or a shard is broken.
    """
    option = data_option(**{OPTION: source})
    if dataset.captions is None or dataset.judgements is not None:
        raise UsageError(f"{option}: data set {dataset.id} has no captions that search images: remove the option")
    root = user_path(source)
    if not is_there(root):
        raise UsageError(
            f"{option}: no such file or folder{why_not_there(root)}: expected a folder of images or shards"
        )
    if not is_folder(root) and root.suffix != SHARD:
        raise UsageError(f"{option}: got a file that is not a {SHARD} shard, expected a folder of images or shards")
    folder = root if is_folder(root) else root.parent
    images: dict[str, ImageRef] = {}
    shards = [root]
    if folder == root:
        image_files = scan(root)
        if image_files.broken:
            n = len(image_files.broken)
            raise DataError(f"{option}: {n:,} links to images are broken, the first {image_files.broken[0]}: fix them")
        images = {path.relative_to(root).as_posix(): FileImage(path) for path in image_files.images}
        shards = sorted(root.rglob(f"*{SHARD}"))
    for shard in shards:
        images |= {
            f"{shard.relative_to(folder).as_posix()}:{sample.key}": sample.image() for sample in samples_in(shard)
        }
    if not images:
        raise UsageError(f"{option}: no images found: expected image files at any depth, or {SHARD} shards with images")
    distractors = Dataset(id=OPTION, images=list(images.values()), image_ids=list(images))
    return replace(dataset, distractors=distractors)


def drop_own_images(dataset: Dataset, digests: Callable[[Sequence[ImageRef]], list[str]]) -> Dataset:
    """Return data without those distractors that are images of the data, and a note that counts them.

    Args:
        digests: gives the content hashes of images.

    Raises:
        DataError: all distractors are.
    """
    if dataset.distractors is None:
        return dataset
    data_digests, all_digests = set(digests(dataset.images)), digests(dataset.distractors.images)
    rows = np.array([row for row, digest in enumerate(all_digests) if digest not in data_digests], np.int64)
    n, n_own = len(all_digests), len(all_digests) - len(rows)
    if not len(rows):
        raise DataError(
            f"data set {dataset.id}: all of its distractors ({n:,}) are its own images: choose other distractors"
        )
    note = f"captions search {len(rows):,} distractors too"
    note += f". Left out, because they are images of the data set: {n_own:,} of {n:,}" if n_own else ""
    return replace(dataset, distractors=dataset.distractors.take(rows), notes=(*dataset.notes, note))
