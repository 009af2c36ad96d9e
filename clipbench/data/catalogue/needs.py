"""Data sets of the catalogue that are asked for and not on this machine: their sizes, and how each can be had."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from clipbench.data.catalogue.download import Download, Listing, choose_source, fetch, list_files, n_bytes_present
from clipbench.data.catalogue.entries import CatalogueEntry, catalogue, place_of
from clipbench.data.catalogue.shards import SUFFIXES, find_part, stated_shards
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
    """Images that are enough; None for all."""
    download: Download | None = None
    """The download that fetches it; None where only a person can get it."""
    listing: Listing | None = None
    """Its files as the server lists them; None where it was not asked."""
    problem: str | None = None
    """The reason why it could not be fetched."""

    @property
    def can_be_fetched(self) -> bool:
        """True if nothing forbids to fetch it, as far as is known."""
        return self.download is not None

    @property
    def step(self) -> str | None:
        """The one thing that a person has to do; None where a command can fetch it."""
        if self.download is not None:
            return None
        if not self.entry.can_be_fetched:
            how = f": {self.entry.by_hand}" if self.entry.by_hand else ""
            return f"put into {self.entry.places[0]}/ by hand{how}"
        return self.licence_step or f"{self.entry.gate}, then `clipbench data get {self.entry.name}`"

    @property
    def licence_step(self) -> str | None:
        """The step of a person at the Hub before the download; None if it is not needed, or the Hub was asked."""
        source = choose_source(self.entry) if self.entry.can_be_fetched and self.listing is None else None
        if source is None or not source.is_gated:
            return None
        return f"accept the licence at https://huggingface.co/datasets/{source.hub}, then `hf auth login`"

    @property
    def n_bytes(self) -> int | None:
        """Bytes to fetch, as the server says, else as the catalogue says; None where neither is known."""
        if self.listing is not None:
            return self.listing.n_bytes
        return sum(stated_shards(self.entry, self.n_images)) or self.entry.size

    @property
    def shards(self) -> tuple[int, int] | None:
        """Shards that are enough, and shards of the whole; None where all is fetched, or it is not known."""
        if self.listing is None:
            n, n_of = len(stated_shards(self.entry, self.n_images)), len(self.entry.shards)
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
    """Images that are enough; None for all."""


def find_needs(asked: Mapping[str, Use], data_root: Path | None) -> list[Need]:
    """Return the data sets of the catalogue that are asked for and not there, without a look at any server.

    Args:
        asked: by the name of the data; names that the catalogue lacks are passed over.
    """
    root = data_root or Path()
    needs: list[Need] = []
    for name, use in _with_images(asked).items():
        entry = catalogue().get(name.lower())
        if entry is None or place_of(entry, data_root) is not None:
            continue
        if any(need.entry.name in entry.places and need.n_images is None for need in needs):
            continue  # the same files, which will lie there
        if use.n_images is not None and find_part(entry, root, use.n_images) is not None:
            continue
        download = _download(entry, root, use.n_images)
        needs.append(Need(entry=entry, tasks=tuple(dict.fromkeys(use.tasks)), n_images=use.n_images, download=download))
    return needs


def _with_images(asked: Mapping[str, Use]) -> Mapping[str, Use]:
    uses = dict(asked)
    for name, use in asked.items():
        entry = catalogue().get(name.lower())
        if entry is not None and entry.images is not None:
            own = uses.get(entry.images, use)
            n_images = None if own.n_images is None or use.n_images is None else max(own.n_images, use.n_images)
            uses[entry.images] = Use((*own.tasks, *use.tasks), n_images)
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
        return list(pool.map(_looked_up, needs))


def fetch_needs(
    needs: Sequence[Need],
    *,
    begun: Callable[[Need], None] = lambda need: None,
    arrived: Callable[[int], None] = lambda n_bytes: None,
) -> list[Need]:
    """Fetch what can be fetched, and return what is still needed, each with the reason.

    One that fails does not cost the others, unless the Hub cannot be reached any more.

    Args:
        arrived: called with each number of new bytes.
    """
    left, cause = [], None
    for need in needs:
        if need.download is None or need.problem is not None:
            left.append(need)
        elif cause is not None:
            left.append(replace(need, problem=cause))
        else:
            begun(need)
            try:
                fetch(need.download, need.listing, arrived=arrived)
            except ClipbenchError as error:
                left.append(replace(need, problem=str(error)))
                cause = unreachable_reason(PROBE_SECONDS)
    return left


def _download(entry: CatalogueEntry, root: Path, n_images: int | None) -> Download | None:
    """Return how to fetch a data set, or None where a person has to do something first, such as ask its authors."""
    if not entry.can_be_fetched:
        return None
    source = choose_source(entry)
    if entry.gate is not None and not source.is_gated:
        return None
    return Download(entry=entry, source=source, root=root, n_images=n_images, report=lambda line: None)


def _looked_up(need: Need) -> Need:
    if need.download is None:
        return need
    try:
        if need.download.source.is_gated and not load_online(lambda: _is_let_in(need.entry), need.download.request):
            return replace(need, download=None)
        listing = list_files(need.download)
        if need.download.is_partial and not listing.spare:  # all of it
            whole = replace(need.download, n_images=None)
            return replace(need, download=whole, listing=list_files(whole))
        return replace(need, listing=listing)
    except ClipbenchError as error:
        return replace(need, problem=str(error))


def _is_let_in(entry: CatalogueEntry) -> bool:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        HfApi().auth_check(choose_source(entry).hub, repo_type="dataset")
    except HfHubHTTPError as error:
        if error.response.status_code in (401, 403):
            return False
        raise
    return True
