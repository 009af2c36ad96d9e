"""Downloading data sets of the catalogue: complete or not at all, and resumed where an earlier try ended.

Files are collected in a hidden folder next to the final one. It is renamed only once all files are there and have the
hashes that their source publishes, so a folder with the data set's name is complete. A later run resumes from the last
byte that has come.
"""

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from clipbench.data.catalogue import resumable_downloads, shards
from clipbench.data.catalogue.entries import ORIGIN_FILE, CatalogueEntry, Source, origin_in
from clipbench.data.catalogue.resumable_downloads import ByteCounter, RemoteFile
from clipbench.errors import DataError, Unavailable, UsageError, did_you_mean, option
from clipbench.files import folder_lock, write_atomic
from clipbench.hub import HubRequest, load_online

ORIGIN = ("repository", "asked", "revision", "urls")
"""Facts that must be equal for the files of an earlier try to be kept."""

if TYPE_CHECKING:
    from huggingface_hub import HfApi


@dataclass(frozen=True, kw_only=True)
class Download:
    """The download of one data set."""

    entry: CatalogueEntry
    source: Source
    root: Path
    """The data root."""
    revision: str | None = None
    """A branch, tag or commit instead of the pinned one."""
    n_images: int | None = None
    """Images that are enough: only the shards for this number are fetched, into a separate folder. None for all."""
    report: Callable[[str], None] = field(default=print)
    on_bytes: ByteCounter = lambda n_bytes: None

    @property
    def is_partial(self) -> bool:
        """True if some of the shards are enough."""
        return self.n_images is not None and shards.supports_shards(self.entry, self.source)

    @property
    def target(self) -> Path:
        """The folder of the complete data set, or of the selected shards."""
        return shards.shard_folder(self.entry, self.root) if self.is_partial else self.root / self.entry.name

    @property
    def staging(self) -> Path:
        """The folder that collects the files: hidden until all are there. A part only grows."""
        return self.target if self.is_partial else staging_of(self.entry, self.root)

    @property
    def request(self) -> HubRequest:
        """The request to the Hub, in words for messages."""
        repository = f"datasets/{self.source.hub}"
        remedy = f"once the Hub can be reached, {resumable_downloads.RESUME_ADVICE}"
        return HubRequest(subject=f"data set {self.entry.name}", repository=repository, remedy=remedy)

    def say(self, text: str) -> None:
        """Report something about the download."""
        self.report(f"{self.entry.name}: {text}")


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The files of one download, as their server has them now."""

    files: tuple[RemoteFile, ...]
    origin: Mapping[str, object]
    """Origin of the files. Files of an earlier try stay if their origin is the same."""
    spare: tuple[RemoteFile, ...] = ()
    """Shards that are needed only if those among ``files`` hold fewer images than their sizes promise."""

    @property
    def n_bytes(self) -> int:
        """Bytes of all files whose size is known."""
        return sum(file.size or 0 for file in self.files)


def staging_of(entry: CatalogueEntry, root: Path) -> Path:
    """Return the hidden folder that collects a data set's files, and that exists while a download is unfinished."""
    return root / f".{entry.name}.part"


def choose_source(entry: CatalogueEntry, name: str | None = None) -> Source:
    """Return the first source that can be fetched, or the one of that name, such as ``hf:ORG/NAME`` or ``urls``."""
    candidates = [source for source in entry.sources if name in (None, source.name)]
    if not candidates and name is not None:
        names = [source.name for source in entry.sources]
        raise UsageError(f"'{entry.name}' has no source '{name}': {did_you_mean(name, names)}")
    for source in candidates:
        if source.can_be_fetched:
            return source
    advice = "choose another source" if entry.can_be_fetched else "add a source to its entry in the catalogue"
    if entry.by_hand:
        advice = f"put it into {entry.places[0]} below the data root by hand: {entry.by_hand}"
    raise Unavailable(f"{name or entry.name} cannot be fetched by command: {advice}")


def list_files(download: Download) -> Listing:
    """Return the files of a download with their sizes and hashes, without fetching anything."""
    if download.source.hub is None:
        files = []
        for file in download.source.urls:
            size, tag = resumable_downloads.look_up(file.url, download.entry.name)
            path = str(PurePosixPath(file.into) / PurePosixPath(urlsplit(file.url).path).name)
            remote = RemoteFile(url=file.url, path=path, size=file.size or size, tag=tag or "", sha256=file.sha256)
            files.append(remote)
        return Listing(files=tuple(files), origin={"urls": [file.url for file in files]})
    hub = download.source.hub
    listing = load_online(lambda: _hub_listing(download, hub), download.request)
    return _select_shards(download, listing) if download.is_partial else listing


def n_bytes_present(download: Download, listing: Listing) -> int:
    """Return how many bytes of a listing an earlier try has left."""
    if not _is_begun(download, listing):
        return 0
    return sum(resumable_downloads.n_bytes_in(download.staging, file) for file in listing.files)


def fetch(download: Download, listing: Listing | None = None) -> Path:
    """Return the folder of the data set, after its files have been fetched, checked and unpacked.

    Args:
        listing: what ``list_files`` returned for it, if that is known already.

    Raises:
        Unavailable: the source cannot be reached, does not have it, keeps it closed, or the connection broke.
        UsageError: the disk has too little space, or the revision does not exist.
        DataError: a file differs from its published hash.
    """
    try:
        download.root.mkdir(parents=True, exist_ok=True)
        with folder_lock(
            download.staging,
            wait=lambda: download.say(
                f"another clipbench process downloads it to {download.root}: waiting until it ends"
            ),
        ):
            if not download.is_partial and "fetched" in origin_in(download.target):
                return download.target  # the process that was waited for has fetched it
            listing = listing or list_files(download)
            _check_published_hash(download, listing.files)
            _check_disk_space(download, listing)
            if not _is_begun(download, listing):
                for path in download.staging.iterdir():  # the folder itself is held
                    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
            _write_origin(download.staging, listing.origin)
            if download.is_partial:
                return _fetch_shards(download, listing)
            _fetch_files(download, listing.files)
            return _finish(download, listing)
    except OSError as error:  # a full disk, a folder without write permission
        if error.errno is None:
            raise
        raise UsageError(
            f"cannot write {download.target}: {error.strerror or error}. Fix that, and"
            f" {resumable_downloads.RESUME_ADVICE}"
        ) from error


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
    unit = units[0]
    has_decimal = size < 9.95 and unit != "B"
    return f"{size:.1f} {unit}" if has_decimal else f"{size:.0f} {unit}"


def _hub_listing(download: Download, repository: str) -> Listing:
    """Return the files of the commit to fetch, which is the earlier commit if a download was interrupted."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RevisionNotFoundError

    api = HfApi()
    earlier_origin = origin_in(download.staging)
    if earlier_origin.get("repository") == repository and earlier_origin.get("asked") == download.revision:
        commit = str(earlier_origin.get("revision"))
        try:
            return _listing_of(download, repository, commit, api)
        except RevisionNotFoundError:
            download.say(f"commit {commit[:7]} is gone from {repository}: starting over")
    revision = download.revision or download.source.revision
    commit_ids: list[str] = []
    # The catalogue may hold the beginning of a commit, and the Hub resolves complete ones only.
    if revision is not None and download.revision is None and re.fullmatch("[0-9a-f]{1,39}", revision):
        ids = [commit.commit_id for commit in api.list_repo_commits(repository, repo_type="dataset")]
        commit_ids = [commit_id for commit_id in ids if commit_id.startswith(revision)]
    else:
        with suppress(RevisionNotFoundError):
            commit_ids = [api.dataset_info(repository, revision=revision).sha or ""]
    if len(commit_ids) != 1:
        advice = "" if download.revision else ". --revision main fetches the newest one, which may give other numbers"
        raise UsageError(f"{repository} has no revision '{revision}' (any more){advice}")
    return _listing_of(download, repository, commit_ids[0], api)


def _listing_of(download: Download, repository: str, commit: str, api: "HfApi") -> Listing:
    from huggingface_hub import hf_hub_url
    from huggingface_hub.hf_api import RepoFile
    from huggingface_hub.utils import build_hf_headers, filter_repo_objects

    tree = api.list_repo_tree(repository, recursive=True, revision=commit, repo_type="dataset")
    files = [item for item in tree if isinstance(item, RepoFile)]
    needed = list(filter_repo_objects(files, allow_patterns=download.source.patterns, key=lambda file: file.path))
    if not needed:
        raise DataError(
            f"{repository} at commit {commit[:7]} has no file that matches"
            f" {' or '.join(download.source.patterns)}: its layout has changed since the catalogue was"
            " written. Choose another source with --from"
        )
    needed.sort(key=lambda file: file.size)  # a shard is of no use without the small files that say how to read it
    remote_files = []
    for file in needed:
        sha256 = None if file.lfs is None else file.lfs.sha256
        remote_files.append(
            RemoteFile(
                url=hf_hub_url(repository, file.path, repo_type="dataset", revision=commit),
                path=file.path,
                size=file.size,
                tag=file.blob_id if sha256 is None else sha256,
                sha256=sha256,
                git_sha1=file.blob_id,
                headers=build_hf_headers(),
            )
        )
    return Listing(
        files=tuple(remote_files), origin={"repository": repository, "asked": download.revision, "revision": commit}
    )


def _is_begun(download: Download, listing: Listing) -> bool:
    """Return whether an earlier try at the same files has left some."""
    earlier_origin = origin_in(download.staging)
    return bool(earlier_origin) and all(earlier_origin.get(name) == listing.origin.get(name) for name in ORIGIN)


def _fetch_files(download: Download, files: Sequence[RemoteFile]) -> None:
    is_of_hub = download.source.hub is not None

    def fetch_all() -> None:
        for file in files:
            with nullcontext() if is_of_hub else resumable_downloads.client_errors(file.url, download.entry.name):
                resumable_downloads.fetch_file(file, download.staging, download.on_bytes)

    if is_of_hub:
        load_online(fetch_all, download.request)
    else:
        fetch_all()


def _select_shards(download: Download, listing: Listing) -> Listing:
    """Return the small files of a listing, and the shards that the limit needs by their sizes."""
    assert download.n_images is not None, download
    by_path = {file.path: file for file in listing.files}
    order = shards.ordered_shards(download.entry, list(by_path))
    earlier_origin = origin_in(download.staging) if _is_begun(download, listing) else {}
    sample_counts: Mapping[str, int | None] = earlier_origin.get("shards", {})  # samples of those that have come
    sizes = [by_path[path].size or 0 for path in order]
    counts = [sample_counts.get(path) for path in order]
    n_chosen = shards.n_needed_shards(download.entry, download.n_images, sizes, counts)
    spare = tuple(by_path[path] for path in order[n_chosen:])
    files = tuple(file for file in listing.files if file not in spare)
    origin = {**listing.origin, "shards": dict(zip(order, counts, strict=True))}
    return Listing(files=files, origin=origin, spare=spare)


def _fetch_shards(download: Download, listing: Listing) -> Path:
    assert download.n_images is not None, download
    small = [file for file in listing.files if not file.path.endswith(shards.SUFFIXES)]
    _fetch_files(download, small)
    counts = dict(listing.origin["shards"])  # type: ignore[call-overload]
    by_path = {file.path: file for file in (*listing.files, *listing.spare)}
    n = 0
    for path in shards.ordered_shards(download.entry, list(counts)):
        if n >= download.n_images:
            break
        _fetch_files(download, [by_path[path]])
        counts[path] = shards.n_samples(download.staging / path)
        n += counts[path]
        _write_origin(download.staging, {**listing.origin, "shards": counts})
    return download.target


def _check_published_hash(download: Download, files: Sequence[RemoteFile]) -> None:
    expected, actual = download.source.sha256, files[0].sha256
    if expected is not None and not (actual or "").startswith(expected):
        raise DataError(
            f"{download.entry.name}: {files[0].path} has sha256 {actual}, expected {expected}...: it is another file"
            " than the published numbers were made with"
        )


def _finish(download: Download, listing: Listing) -> Path:
    if download.source.form in ("archive", "urls"):
        for archive in sorted(download.staging.rglob("*")):
            if archive.name.endswith(resumable_downloads.ARCHIVES):
                resumable_downloads.unpack(archive)
    sizes = {file.path: file.size for file in listing.files}
    fetched = datetime.now(UTC).isoformat(timespec="seconds")
    _write_origin(download.staging, {**listing.origin, "files": sizes, "fetched": fetched})
    os.replace(download.staging, download.target)
    return download.target


def _check_disk_space(download: Download, listing: Listing) -> None:
    """Raise UsageError if the disk is too small for the missing files. Archives need their size twice."""
    times = 2 if download.source.form in ("archive", "urls") else 1
    needed = listing.n_bytes * times - n_bytes_present(download, listing)
    free = shutil.disk_usage(download.root).free
    if needed > free:
        raise UsageError(
            f"{download.entry.name} needs {readable_size(needed)}, and {download.root} has"
            f" {readable_size(free)} free: make room, or choose a folder on another disk with"
            f" {option('data_root')}"
        )
    origin = download.source.name if download.source.hub else download.source.urls[-1].url
    download.say(f"{readable_size(listing.n_bytes)} from {origin}")


def _write_origin(folder: Path, origin: Mapping[str, object]) -> None:
    write_atomic({folder / ORIGIN_FILE: (json.dumps(origin, indent=1) + "\n").encode()})
