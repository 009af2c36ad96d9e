"""Downloading data sets of the catalogue: complete or not at all, and resumed where an earlier try ended.

Files are collected in a hidden folder beside the final one. It is renamed only once all files are there and have the
hashes that their source publishes, so a folder with the data set's name is complete. The client is huggingface_hub's
own: within a run it resumes a partial file and waits where the Hub asks for that; a later run resumes from the complete
files (outside the Hub, from the last byte).
"""

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from clipbench.data.catalogue import ORIGIN_FILE, CatalogueEntry, Source, origin_in
from clipbench.data.web_files import ARCHIVES, fetch_file, look_up, unpack
from clipbench.errors import DataError, Unavailable, UsageError, did_you_mean
from clipbench.hub import HubRequest, online

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

RESUME_ADVICE = "the same command resumes from the files that have arrived"


@dataclass(frozen=True, kw_only=True)
class Download:
    """The download of one data set."""

    entry: CatalogueEntry
    source: Source
    root: Path
    """The data root."""
    revision: str | None = None
    """A branch, tag or commit in place of the pinned one."""
    report: Callable[[str], None] = field(default=print)

    @property
    def target(self) -> Path:
        """The data set's folder once it is complete."""
        return self.root / self.entry.name

    @property
    def staging(self) -> Path:
        """The hidden folder that collects the files until all are there."""
        return staging_of(self.entry, self.root)


def staging_of(entry: CatalogueEntry, root: Path) -> Path:
    """Return the hidden folder that collects a data set's files; it exists while a download is unfinished."""
    return root / f".{entry.name}.part"


def choose_source(entry: CatalogueEntry, name: str | None = None) -> Source:
    """Return the first source that can be fetched, or the one of that name, such as ``hf:ORG/NAME`` or ``urls``.

    Raises:
        UsageError: there is none of that name.
        Unavailable: it cannot be fetched by command; the message says how else.
    """
    candidates = [source for source in entry.sources if name in (None, source.name)]
    if not candidates and name is not None:
        names = [source.name for source in entry.sources]
        raise UsageError(f"'{entry.name}' has no source '{name}': {did_you_mean(name, names)}")
    for source in candidates:
        if source.can_be_fetched:
            return source
    advice = "name another source"
    if entry.by_hand:
        advice = f"put it into {entry.places[0]} below the data root by hand: {entry.by_hand}"
    raise Unavailable(f"{name or entry.name} cannot be fetched by command: {advice}")


def fetch(download: Download) -> Path:
    """Return the folder of the data set, after its files have been fetched, checked and unpacked.

    Raises:
        Unavailable: the source cannot be reached, does not have it, keeps it closed, or the connection broke.
        UsageError: the disk has too little space, or the revision does not exist.
        DataError: a file differs from its published hash.
    """
    try:
        download.root.mkdir(parents=True, exist_ok=True)
        return _fetch(download)
    except OSError as error:  # a full disk, a folder without write permission
        if error.errno is None:
            raise
        raise UsageError(f"cannot write {download.target}: {error.strerror or error}; {RESUME_ADVICE}") from error


def readable_size(n_bytes: int) -> str:
    """Return a number of bytes with a readable unit.

    Example:
        >>> readable_size(369_000_000), readable_size(7_603_938_982), readable_size(999)
        ('369 MB', '7.6 GB', '999 B')
    """
    size, units = float(n_bytes), ["B", "kB", "MB", "GB"]
    while size >= 999.5 and len(units) > 1:
        size /= 1000
        units.pop(0)
    return f"{size:.1f} {units[0]}" if size < 9.95 and units[0] != "B" else f"{size:.0f} {units[0]}"


def _fetch(download: Download) -> Path:
    origin = _from_hub(download) if download.source.hub else _from_urls(download)
    if download.source.form in ("archive", "urls"):
        for archive in sorted(download.staging.rglob("*")):
            if archive.name.endswith(ARCHIVES):
                unpack(archive)
    shutil.rmtree(download.staging / ".cache", ignore_errors=True)  # huggingface_hub's records of partial files
    _write_origin(download.staging, {**origin, "fetched": datetime.now(UTC).isoformat(timespec="seconds")})
    os.replace(download.staging, download.target)
    return download.target


def _from_hub(download: Download) -> Mapping[str, object]:
    repository = download.source.hub
    assert repository is not None
    wanted = HubRequest(
        what=f"data set {download.entry.name}", repository=f"datasets/{repository}", remedy=RESUME_ADVICE
    )
    return online(lambda: _download(download, repository), wanted)


def _download(download: Download, repository: str) -> Mapping[str, object]:
    from huggingface_hub import HfApi, snapshot_download

    api = HfApi()
    commit, files = _commit_and_files(download, repository, api)
    _check_disk_space(download, sum(file.size for file in files))
    download.staging.mkdir(exist_ok=True)
    _write_origin(download.staging, {"repository": repository, "asked": download.revision, "revision": commit})
    snapshot_download(
        repository,
        repo_type="dataset",
        revision=commit,
        local_dir=download.staging,
        allow_patterns=[file.path for file in files],
    )
    _check_hashes(download, repository, commit, [file.path for file in files])
    sizes = {file.path: file.size for file in files}
    return {"repository": repository, "revision": commit, "files": sizes}


def _commit_and_files(download: Download, repository: str, api: "HfApi") -> tuple[str, "list[RepoFile]"]:
    """Return the commit to fetch and its needed files; an interrupted download of the same goes on with its commit."""
    from huggingface_hub.errors import RevisionNotFoundError

    begun = origin_in(download.staging) or {}
    if begun.get("repository") == repository and begun.get("asked") == download.revision:
        commit = str(begun.get("revision"))
        try:
            return commit, _files(download, repository, commit, api)
        except RevisionNotFoundError:
            download.report(f"{download.entry.name}: commit {commit[:7]} is gone from {repository}: starting over")
    shutil.rmtree(download.staging, ignore_errors=True)
    commit = _commit(download, repository, api)
    return commit, _files(download, repository, commit, api)


def _commit(download: Download, repository: str, api: "HfApi") -> str:
    from huggingface_hub.errors import RevisionNotFoundError

    revision = download.revision or download.source.revision
    advice = "" if download.revision else "; --revision main takes the present one, and may give other numbers"
    not_found = UsageError(f"{repository} has no revision '{revision}' (any more){advice}")
    # The catalogue may hold the beginning of a commit, and the Hub resolves complete ones only.
    if revision is not None and download.revision is None and len(revision) < 40:
        commits = [commit.commit_id for commit in api.list_repo_commits(repository, repo_type="dataset")]
        matches = [commit for commit in commits if commit.startswith(revision)]
        if len(matches) != 1:
            raise not_found
        return matches[0]
    try:
        commit = api.dataset_info(repository, revision=revision).sha
    except RevisionNotFoundError as error:
        raise not_found from error
    assert commit is not None, repository
    return commit


def _files(download: Download, repository: str, commit: str, api: "HfApi") -> "list[RepoFile]":
    from huggingface_hub.hf_api import RepoFile
    from huggingface_hub.utils import filter_repo_objects

    tree = api.list_repo_tree(repository, recursive=True, revision=commit, repo_type="dataset")
    files = [item for item in tree if isinstance(item, RepoFile)]
    needed = list(filter_repo_objects(files, allow_patterns=download.source.patterns, key=lambda file: file.path))
    if not needed:
        raise DataError(
            f"{repository} at commit {commit[:7]} has no file that matches {' or '.join(download.source.patterns)}: its layout"
            " has changed since the catalogue was written; name another source with --from"
        )
    return needed


def _check_hashes(download: Download, repository: str, commit: str, paths: Sequence[str]) -> None:
    """Raise DataError unless the files have the Hub's checksums and the published one; remove those that have not."""
    from huggingface_hub import HfApi
    from huggingface_hub.utils.sha import sha_fileobj

    report = HfApi().verify_repo_checksums(repository, repo_type="dataset", revision=commit, local_dir=download.staging)
    wrong = [mismatch["path"] for mismatch in report.mismatches]
    missing = [path for path in paths if path in set(report.missing_paths)]
    for path in wrong:
        (download.staging / path).unlink()
    if wrong or missing:
        fault = f"{wrong[0]} has another checksum than {repository} says: it was removed" if wrong else ""
        fault = fault or f"{missing[0]} has not come from {repository}"
        raise DataError(f"{download.entry.name}: {fault}, and {RESUME_ADVICE}")
    if download.source.sha256 is not None:
        with (download.staging / paths[0]).open("rb") as file:
            actual = sha_fileobj(file).hex()
        if not actual.startswith(download.source.sha256):
            raise DataError(
                f"{download.entry.name}: {paths[0]} has sha256 {actual}, expected {download.source.sha256}...: it is another file"
                " than the published numbers were made with"
            )


def _from_urls(download: Download) -> Mapping[str, object]:
    files = [(file, *look_up(file.url, download.entry.name)) for file in download.source.urls]
    _check_disk_space(download, sum(size or file.size or 0 for file, size, _ in files))
    origin = {"urls": [file.url for file in download.source.urls]}
    if (origin_in(download.staging) or {}).get("urls") != origin["urls"]:
        shutil.rmtree(download.staging, ignore_errors=True)
    download.staging.mkdir(exist_ok=True)
    _write_origin(download.staging, origin)
    for file, size, tag in files:
        fetch_file(replace(file, size=file.size or size), download.staging, tag=tag, name=download.entry.name)
    return origin


def _check_disk_space(download: Download, n_bytes: int) -> None:
    """Raise UsageError when the disk is too small for the files that are missing; archives need their size twice."""
    fetched = sum(path.stat().st_size for path in download.staging.rglob("*") if path.is_file())
    needed = n_bytes * (2 if download.source.form in ("archive", "urls") else 1) - fetched
    free = shutil.disk_usage(download.root).free
    if needed > free:
        raise UsageError(
            f"{download.entry.name} needs {readable_size(needed)}, and {download.root} has {readable_size(free)} free: make room,"
            " or name a folder on another disk with --data-root"
        )
    origin = download.source.name if download.source.hub else download.source.urls[-1].url
    download.report(f"{download.entry.name}: {readable_size(n_bytes)} from {origin}")


def _write_origin(folder: Path, origin: Mapping[str, object]) -> None:
    (folder / ORIGIN_FILE).write_text(json.dumps(origin, indent=1) + "\n", encoding="utf-8")
