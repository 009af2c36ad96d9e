"""Data sets on the Hugging Face Hub: the present revision where the Hub answers, else the cached copy."""

from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from clipbench.data import huggingface
from clipbench.data.dataset import DataOptions, Dataset
from clipbench.data.readers import huggingface_rows, webdataset
from clipbench.data.readers.huggingface_rows import SplitRows
from clipbench.errors import DataError, Unavailable, UsageError
from clipbench.hub import HubRequest, cached_first, gated, refusal

OPTIONS = (*huggingface.OPTIONS, "revision")


@dataclass(frozen=True, kw_only=True)
class HubReference:
    """A data set on the Hub."""

    repository: str
    """``ORG/NAME``."""
    config: str | None = None
    split: str | None = None
    revision: str | None = None

    @property
    def id(self) -> str:
        return f"hf:{self.repository}" + (f":{self.config}" if self.config else "")


def load(reference: HubReference, options: DataOptions) -> Dataset:
    """Return one split of a data set on the Hub.

    A repository with CLIP_benchmark's layout is read as that, class names and templates included; any other through
    the datasets library. Only the files of the split are fetched.

    Raises:
        Unavailable: the Hub does not answer and nothing is cached, has no such repository, or keeps it closed.
        UsageError: the split, configuration or revision does not exist or must be named, or columns must.
        DataError: it cannot be read, or needs a loading script.
    """
    options.refuse_unknown(OPTIONS, reference.id)
    try:
        return cached_first(lambda: _download(reference, options), _request(reference))
    except Unavailable:
        cached = _cached(reference, options)
        if cached is None:
            raise
        return replace(
            cached, notes=(*cached.notes, "the Hub did not answer, so the newest copy in the cache was read")
        )


def _request(reference: HubReference) -> HubRequest:
    return HubRequest(
        what=f"data set {reference.id}",
        repository=f"datasets/{reference.repository}",
        remedy="download it where there is a network, and name the folder instead (hf:PATH)",
    )


def _download(reference: HubReference, options: DataOptions) -> Dataset:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RevisionNotFoundError

    try:
        info = HfApi().dataset_info(reference.repository, revision=reference.revision)
    except RevisionNotFoundError as error:
        raise UsageError(f"{reference.id} has no revision '{reference.revision}' on the Hub") from error
    files = [PurePosixPath(file.rfilename) for file in info.siblings or ()]
    splits = [file.parent.name for file in files if file.name == webdataset.SHARDS_FILE]
    if splits:
        split = huggingface_rows.choose_split(splits, reference.split or webdataset.DEFAULT_SPLIT, reference.id)
        return _from_shards(_snapshot(reference, split, local_files_only=False), reference, options)
    return huggingface.from_rows(_open(reference, info.sha), _without_revision(options), reference.id)


def _open(reference: HubReference, commit: str | None) -> SplitRows:
    """Return the rows of the split; the library wraps the Hub's answers in errors of its own."""
    try:
        with huggingface_rows.library_errors(reference.id):
            return huggingface_rows.open_split(
                reference.repository,
                config=reference.config,
                split=reference.split,
                key=_key(reference),
                revision=commit,
            )
    except (Unavailable, DataError) as error:
        # For a gated repository the library passes on the Hub's message, but not its error.
        is_gated = "is a gated dataset" in str(error)
        refused = gated(_request(reference)) if is_gated else refusal(error, _request(reference))
        if refused is None:
            raise
        raise refused from error


def _snapshot(reference: HubReference, split: str, *, local_files_only: bool) -> Path:
    from huggingface_hub import snapshot_download

    folder = snapshot_download(
        reference.repository,
        repo_type="dataset",
        revision=reference.revision,
        allow_patterns=["*.txt", f"{split}/*"],
        local_files_only=local_files_only,
    )
    return Path(folder)


def _cached(reference: HubReference, options: DataOptions) -> Dataset | None:
    """Return the cached copy of an earlier run, or None."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    split = reference.split or webdataset.DEFAULT_SPLIT
    try:
        folder = _snapshot(reference, split, local_files_only=True)
    except LocalEntryNotFoundError:
        folder = None
    if folder is not None and (folder / split / webdataset.SHARDS_FILE).is_file():
        return _from_shards(folder, reference, options)
    rows = _cached_rows(reference)
    return None if rows is None else huggingface.from_rows(rows, _without_revision(options), reference.id)


def _cached_rows(reference: HubReference) -> SplitRows | None:
    """Return the newest converted rows of the split; the folder that holds them is named after the commit."""
    import datasets

    for split in (reference.split,) if reference.split else (*huggingface_rows.PREFERRED_SPLITS, "train"):
        folders = {file.parent for file in huggingface_rows.cache_folder(_key(reference), split).rglob("*.arrow")}
        folders = {folder for folder in folders if folder.suffix != ".incomplete"}  # of a conversion that was killed
        if folders:
            newest = max(folders, key=lambda folder: folder.stat().st_mtime)
            tables = [datasets.Dataset.from_file(str(file)) for file in sorted(newest.glob("*.arrow"))]
            roots = huggingface_rows.roots_of(reference.repository)
            return SplitRows(datasets.concatenate_datasets(tables), split, newest.name, roots)
    return None


def _from_shards(folder: Path, reference: HubReference, options: DataOptions) -> Dataset:
    if reference.config is not None:
        raise UsageError(f"{reference.id}: the repository has no configurations, only splits: write hf:DATA::SPLIT")
    dataset = webdataset.load(folder, _without_revision(options), reference.id)
    return replace(dataset, revision=folder.name)  # snapshots are named after their commit


def _key(reference: HubReference) -> str:
    """Return the reference as a name in the cache: a copy is used only for the reference that it was fetched by."""
    parts = {"--": reference.config, "@": reference.revision}
    suffixes = [f"{mark}{quote(part, safe='')}" for mark, part in parts.items() if part is not None]
    return reference.repository.replace("/", "--") + "".join(suffixes)


def _without_revision(options: DataOptions) -> DataOptions:
    return replace(options, options={name: value for name, value in options.options.items() if name != "revision"})
