"""Fetching data sets of the catalogue: whole or not at all, and going on where an earlier try ended.

Files come into a hidden folder beside the one they are for. Only when all of them are there and have the hashes that
their source publishes does that folder get the data set's name; so what has the name is whole. The client is
huggingface_hub's own: within a run it takes up a half file and waits where the Hub asks for that; a later run goes on
from the whole files (of archives outside the Hub, from the last byte).
"""

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from clipbench.data.catalogue import ORIGIN_FILE, CatalogueEntry, Source, WebFile, origin_in
from clipbench.data.web_files import ARCHIVES, fetch_file, look_up, unpack
from clipbench.errors import DataError, Unavailable, UsageError, did_you_mean
from clipbench.hub import Wanted, online

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

AGAIN = "the same command goes on from the files that have come"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One data set that is to be fetched."""

    entry: CatalogueEntry
    source: Source
    root: Path
    """The data root."""
    revision: str | None = None
    """A branch, tag or commit in place of the pinned one."""
    say: Callable[[str], None] = field(default=print)

    @property
    def target(self) -> Path:
        """Where the data set will be."""
        return self.root / self.entry.name

    @property
    def staging(self) -> Path:
        """Where its files are gathered."""
        return staging_of(self.entry, self.root)


def staging_of(entry: CatalogueEntry, root: Path) -> Path:
    """Return the hidden folder in which a data set's files are gathered; it is there while a fetch is unfinished."""
    return root / f".{entry.name}.part"


def choose_source(entry: CatalogueEntry, name: str | None = None) -> Source:
    """Return the first source that can be fetched, or the one of that name, such as ``hf:ORG/NAME`` or ``urls``.

    Raises:
        UsageError: there is none of that name.
        Unavailable: it cannot be fetched by command; the message says how else.
    """
    usable = [source for source in entry.sources if source.can_be_fetched]
    if name is not None:
        found = [source for source in entry.sources if source.name == name]
        if not found:
            names = [source.name for source in entry.sources]
            raise UsageError(f"'{entry.name}' has no source '{name}': {did_you_mean(name, names)}")
        usable = [source for source in found if source.can_be_fetched]
    if usable:
        return usable[0]
    how = "name another source"
    if entry.by_hand:
        how = f"put it into {entry.places[0]} below the data root by hand: {entry.by_hand}"
    raise Unavailable(f"{name or entry.name} cannot be fetched by command: {how}")


def fetch(plan: Plan) -> Path:
    """Return the folder of the data set, after its files have been fetched, checked and unpacked.

    Raises:
        Unavailable: the source cannot be reached, does not have it, keeps it closed, or the connection broke.
        UsageError: there is too little room, or the revision is not there.
        DataError: what came is not what its source says it is.
    """
    try:
        plan.root.mkdir(parents=True, exist_ok=True)
        return _fetch(plan)
    except OSError as error:  # a full disk, a folder that is not ours
        if error.errno is None:
            raise
        raise UsageError(f"cannot write {plan.target}: {error.strerror or error}; {AGAIN}") from error


def readable_size(n_bytes: int) -> str:
    """Return a number of bytes as a person reads it.

    Example:
        >>> readable_size(369_000_000), readable_size(7_603_938_982), readable_size(999)
        ('369 MB', '7.6 GB', '999 B')
    """
    size, units = float(n_bytes), ["B", "kB", "MB", "GB"]
    while size >= 999.5 and len(units) > 1:
        size /= 1000
        units.pop(0)
    return f"{size:.1f} {units[0]}" if size < 9.95 and units[0] != "B" else f"{size:.0f} {units[0]}"


def _fetch(plan: Plan) -> Path:
    origin = _from_hub(plan) if plan.source.hub else _from_urls(plan)
    if plan.source.form in ("archive", "urls"):
        for archive in sorted(plan.staging.rglob("*")):
            if archive.name.endswith(ARCHIVES):
                unpack(archive)
    shutil.rmtree(plan.staging / ".cache", ignore_errors=True)  # huggingface_hub's notes on half files
    _write_origin(plan.staging, {**origin, "fetched": datetime.now(UTC).isoformat(timespec="seconds")})
    os.replace(plan.staging, plan.target)
    return plan.target


def _from_hub(plan: Plan) -> Mapping[str, object]:
    repository = plan.source.hub
    assert repository is not None
    wanted = Wanted(what=f"data set {plan.entry.name}", repository=f"datasets/{repository}", remedy=AGAIN)
    return online(lambda: _download(plan, repository), wanted)


def _download(plan: Plan, repository: str) -> Mapping[str, object]:
    from huggingface_hub import HfApi, snapshot_download

    api = HfApi()
    commit, files = _commit_and_files(plan, repository, api)
    _check_room(plan, sum(file.size for file in files))
    plan.staging.mkdir(exist_ok=True)
    _write_origin(plan.staging, {"repository": repository, "asked": plan.revision, "revision": commit})
    snapshot_download(
        repository,
        repo_type="dataset",
        revision=commit,
        local_dir=plan.staging,
        allow_patterns=[file.path for file in files],
    )
    _check_hashes(plan, repository, commit, [file.path for file in files])
    sizes = {file.path: file.size for file in files}
    return {"repository": repository, "revision": commit, "files": sizes}


def _commit_and_files(plan: Plan, repository: str, api: "HfApi") -> tuple[str, "list[RepoFile]"]:
    """Return the commit to fetch and what is needed of it; a try of the same that broke off goes on with its commit."""
    from huggingface_hub.errors import RevisionNotFoundError

    begun = origin_in(plan.staging) or {}
    if begun.get("repository") == repository and begun.get("asked") == plan.revision:
        commit = str(begun.get("revision"))
        try:
            return commit, _files(plan, repository, commit, api)
        except RevisionNotFoundError:
            plan.say(f"{plan.entry.name}: commit {commit[:7]} is gone from {repository}: beginning anew")
    shutil.rmtree(plan.staging, ignore_errors=True)
    commit = _commit(plan, repository, api)
    return commit, _files(plan, repository, commit, api)


def _commit(plan: Plan, repository: str, api: "HfApi") -> str:
    from huggingface_hub.errors import RevisionNotFoundError

    revision = plan.revision or plan.source.revision
    advice = "" if plan.revision else "; --revision main takes what is there now, and may give other numbers"
    pinned = UsageError(f"{repository} has no revision '{revision}' (any more){advice}")
    if revision is not None and plan.revision is None and len(revision) < 40:  # the Hub knows whole commits only
        commits = api.list_repo_commits(repository, repo_type="dataset")
        found = [each.commit_id for each in commits if each.commit_id.startswith(revision)]
        if len(found) != 1:
            raise pinned
        return found[0]
    try:
        commit = api.dataset_info(repository, revision=revision).sha
    except RevisionNotFoundError as error:
        raise pinned from error
    assert commit is not None, repository
    return commit


def _files(plan: Plan, repository: str, commit: str, api: "HfApi") -> "list[RepoFile]":
    from huggingface_hub.hf_api import RepoFile
    from huggingface_hub.utils import filter_repo_objects

    tree = api.list_repo_tree(repository, recursive=True, revision=commit, repo_type="dataset")
    files = [item for item in tree if isinstance(item, RepoFile)]
    needed = list(filter_repo_objects(files, allow_patterns=plan.source.patterns, key=lambda file: file.path))
    if not needed:
        raise DataError(
            f"{repository} at commit {commit[:7]} has no file called {' or '.join(plan.source.patterns)}: it is no longer"
            " laid out as the catalogue says; name another source with --from"
        )
    return needed


def _check_hashes(plan: Plan, repository: str, commit: str, paths: Sequence[str]) -> None:
    """Remove files that are not what the Hub says they are, and raise if there were any."""
    from huggingface_hub import HfApi

    found = HfApi().verify_repo_checksums(repository, repo_type="dataset", revision=commit, local_dir=plan.staging)
    wrong = [each["path"] for each in found.mismatches]
    missing = [path for path in paths if path in set(found.missing_paths)]
    for path in wrong:
        (plan.staging / path).unlink()
    if wrong or missing:
        said = f"{wrong[0]} has another checksum than {repository} says: it was removed" if wrong else ""
        said = said or f"{missing[0]} has not come from {repository}"
        raise DataError(f"{plan.entry.name}: {said}, and {AGAIN}")
    if plan.source.sha256 is not None:
        _check_published_hash(plan, paths[0])


def _check_published_hash(plan: Plan, path: str) -> None:
    from huggingface_hub.utils.sha import sha_fileobj

    with (plan.staging / path).open("rb") as file:
        actual = sha_fileobj(file).hex()
    if not actual.startswith(plan.source.sha256 or ""):
        raise DataError(
            f"{plan.entry.name}: {path} has sha256 {actual}, expected {plan.source.sha256}...: it is another file than the"
            " published numbers were made with"
        )


def _from_urls(plan: Plan) -> Mapping[str, object]:
    found = [(file, *look_up(file.url, plan.entry.name)) for file in plan.source.urls]
    _check_room(plan, sum(size or file.size or 0 for file, size, _ in found))
    if (origin_in(plan.staging) or {}).get("urls") != [file.url for file in plan.source.urls]:
        shutil.rmtree(plan.staging, ignore_errors=True)
    plan.staging.mkdir(exist_ok=True)
    _write_origin(plan.staging, {"urls": [file.url for file in plan.source.urls]})
    for file, size, tag in found:
        fetch_file(_sized(file, size), plan.staging, tag=tag, name=plan.entry.name)
    return {"urls": [file.url for file in plan.source.urls]}


def _sized(file: WebFile, size: int | None) -> WebFile:
    return WebFile(url=file.url, into=file.into, size=file.size or size, sha256=file.sha256)


def _check_room(plan: Plan, n_bytes: int) -> None:
    """Raise UsageError when the disk has no room for what is still to come; archives need it twice."""
    there = sum(path.stat().st_size for path in plan.staging.rglob("*") if path.is_file())
    needed = n_bytes * (2 if plan.source.form in ("archive", "urls") else 1) - there
    free = shutil.disk_usage(plan.root).free
    if needed > free:
        raise UsageError(
            f"{plan.entry.name} needs {readable_size(needed)}, and {plan.root} has {readable_size(free)} free: make room,"
            " or name a folder on another disk with --data-root"
        )
    plan.say(f"{plan.entry.name}: {readable_size(n_bytes)} from {_where(plan.source)}")


def _where(source: Source) -> str:
    return source.name if source.hub else source.urls[-1].url


def _write_origin(folder: Path, origin: Mapping[str, object]) -> None:
    (folder / ORIGIN_FILE).write_text(json.dumps(origin, indent=1) + "\n", encoding="utf-8")
