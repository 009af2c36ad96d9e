"""Data sets of the catalogue that are asked for and not on this machine: their sizes, and how each can be had."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from clipbench.data.catalogue.download import Download, Listing, choose_source, fetch, list_files, n_bytes_present
from clipbench.data.catalogue.entries import CatalogueEntry, catalogue, find_folder
from clipbench.data.catalogue.resumable_downloads import ByteCounter
from clipbench.data.catalogue.shards import SUFFIXES, find_shards, needed_shard_sizes
from clipbench.errors import ClipbenchError
from clipbench.hub import load_online, unreachable_reason

N_LOOK_UPS = 8
"""Servers that are asked for their files at a time."""
PROBE_SECONDS = 2.0
"""Wait for the Hub's first answer: without a network, the reply to the user should not take longer than a glance."""


@dataclass(frozen=True, kw_only=True)
class Need:
    """A data set that is not on this machine."""

    entry: CatalogueEntry
    tasks: tuple[str, ...]
    """The tasks that ask for it."""
    n_images: int | None = None
    """Images that are enough, or None for all."""
    download: Download | None = None
    """The download that fetches it, or None if only a person can get it."""
    listing: Listing | None = None
    """Its files as the server lists them, or None if it was not asked."""
    problem: str | None = None
    """The reason why it could not be fetched."""

    @property
    def can_be_fetched(self) -> bool:
        """True if nothing forbids to fetch it, as far as is known."""
        return self.download is not None

    @property
    def step(self) -> str | None:
        """The one thing that a person has to do, or None if a command can fetch it."""
        if self.download is not None:
            return None
        if not self.entry.can_be_fetched:
            how = f": {self.entry.by_hand}" if self.entry.by_hand else ""
            return f"put into {self.entry.places[0]}/ by hand{how}"
        return self.licence_step or f"{self.entry.gate}, then `clipbench data get {self.entry.name}`"

    @property
    def licence_step(self) -> str | None:
        """The step of a person at the Hub before the download, or None if it is not needed, or the Hub was asked."""
        source = choose_source(self.entry) if self.entry.can_be_fetched and self.listing is None else None
        if source is None or not source.is_gated:
            return None
        return f"accept the licence at https://huggingface.co/datasets/{source.hub}, then `hf auth login`"

    @property
    def n_bytes(self) -> int | None:
        """Bytes to fetch, from the server or otherwise from the catalogue, or None if neither states them."""
        if self.listing is not None:
            return self.listing.n_bytes
        return sum(needed_shard_sizes(self.entry, self.n_images)) or self.entry.size

    @property
    def shards(self) -> tuple[int, int] | None:
        """Number of shards to fetch and of all shards, or None if all are fetched or the number is unknown."""
        if self.listing is None:
            n, n_of = len(needed_shard_sizes(self.entry, self.n_images)), len(self.entry.shards)
        else:
            n = sum(file.path.endswith(SUFFIXES) for file in self.listing.files)
            n_of = n + len(self.listing.spare)
        return (n, n_of) if 0 < n < n_of else None

    @property
    def n_bytes_present(self) -> int:
        """Bytes that an earlier try has left."""
        is_known = self.download is not None and self.listing is not None
        return n_bytes_present(self.download, self.listing) if is_known else 0  # type: ignore[arg-type]


class Use(NamedTuple):
    """Requirements of a data set."""

    tasks: Sequence[str]
    n_images: int | None = None
    """Images that are enough, or None for all."""


def find_needs(requested: Mapping[str, Use], data_root: Path | None) -> list[Need]:
    """Return the data sets of the catalogue that are requested and not on this machine, without network access.

    Args:
        requested: by the name of the data. Names that the catalogue lacks are ignored.
    """
    root = data_root or Path()
    needs: list[Need] = []
    for name, use in _with_images(requested).items():
        entry = catalogue().get(name.lower())
        if entry is None or find_folder(entry, data_root) is not None:
            continue
        if any(need.entry.name in entry.places and need.n_images is None for need in needs):
            continue  # the same files, which will lie there
        if use.n_images is not None and find_shards(entry, root, use.n_images) is not None:
            continue
        download = _download(entry, root, use.n_images)
        needs.append(Need(entry=entry, tasks=tuple(dict.fromkeys(use.tasks)), n_images=use.n_images, download=download))
    return needs


def _with_images(requested: Mapping[str, Use]) -> Mapping[str, Use]:
    uses = dict(requested)
    for name, use in requested.items():
        entry = catalogue().get(name.lower())
        if entry is not None and entry.images is not None:
            image_use = uses.get(entry.images, use)
            n_images = (
                None if image_use.n_images is None or use.n_images is None else max(image_use.n_images, use.n_images)
            )
            uses[entry.images] = Use((*image_use.tasks, *use.tasks), n_images)
    return uses


def look_up_needs(needs: Sequence[Need]) -> list[Need]:
    """Return the needs with files and sizes as their servers list them, or with why those cannot be had.

    Data whose repository is gated can be fetched once the Hub lets this user in.
    """
    from huggingface_hub.utils import get_session

    cause = unreachable_reason(PROBE_SECONDS)
    if cause is not None:
        return [replace(need, problem=cause) if need.can_be_fetched else need for need in needs]
    get_session()  # made once: in older versions each thread makes one, and all but one are never closed
    with ThreadPoolExecutor(N_LOOK_UPS) as pool:
        return list(pool.map(_with_listing, needs))


def fetch_needs(
    needs: Sequence[Need],
    *,
    on_start: Callable[[Need], None],
    on_bytes: ByteCounter,
) -> list[Need]:
    """Fetch all data sets that have a download, and return those that are still missing, with the reason.

    One that fails does not cost the others, unless the Hub cannot be reached any more.
    """
    unfetched, cause = [], None
    for need in needs:
        if need.download is None or need.problem is not None:
            unfetched.append(need)
        elif cause is not None:
            unfetched.append(replace(need, problem=cause))
        else:
            on_start(need)
            try:
                fetch(replace(need.download, on_bytes=on_bytes), need.listing)
            except ClipbenchError as error:
                unfetched.append(replace(need, problem=str(error)))
                cause = unreachable_reason(PROBE_SECONDS)
    return unfetched


def _download(entry: CatalogueEntry, root: Path, n_images: int | None) -> Download | None:
    """Return the download of a data set, or None if a person has to do something first, such as ask its authors."""
    if not entry.can_be_fetched:
        return None
    source = choose_source(entry)
    if entry.gate is not None and not source.is_gated:
        return None
    return Download(entry=entry, source=source, root=root, n_images=n_images, report=lambda line: None)


def _with_listing(need: Need) -> Need:
    if need.download is None:
        return need
    try:
        if need.download.source.is_gated and not load_online(lambda: _has_access(need.entry), need.download.request):
            return replace(need, download=None)
        listing = list_files(need.download)
        if need.download.is_partial and not listing.spare:  # all of it
            full_download = replace(need.download, n_images=None)
            return replace(need, download=full_download, listing=list_files(full_download))
        return replace(need, listing=listing)
    except ClipbenchError as error:
        return replace(need, problem=str(error))


def _has_access(entry: CatalogueEntry) -> bool:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        HfApi().auth_check(choose_source(entry).hub, repo_type="dataset")
    except HfHubHTTPError as error:
        if error.response.status_code in (401, 403):
            return False
        raise
    return True
