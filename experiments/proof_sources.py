"""The published files that `make proof` measures: downloaded at a commit or found in a folder, checked by SHA-256."""

import hashlib
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

TIMEOUT = 60
"""Seconds without an answer after which a download has failed."""
MOST_BYTES = 16 << 20
"""Size above which a file of a folder is none of the sources."""


class ProofError(Exception):
    """A source is missing or differs; the text has one line for each."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """A file that others published."""

    repository: str
    """On GitHub, as owner/name."""
    commit: str
    path: str
    sha256: str
    licence: str
    cut_sha256: str | None = None
    """Hash of a smaller copy, also accepted: the columns imagename, category and response, sorted and compressed."""

    @property
    def name(self) -> str:
        return Path(self.path).name

    @property
    def url(self) -> str:
        """The address of the bytes."""
        return f"https://raw.githubusercontent.com/{self.repository}/{self.commit}/{self.path}"

    @property
    def page(self) -> str:
        """The address that a reader opens."""
        return f"https://github.com/{self.repository}/blob/{self.commit}/{self.path}"

    def accepts(self, sha256: str) -> bool:
        """Return whether a file with this hash is the source."""
        return sha256 in (self.sha256, self.cut_sha256)


def locate_sources(sources: Mapping[str, Source], folder: Path | None, downloads: Path) -> dict[str, Path]:
    """Return the file of each source, all of them checked.

    Args:
        sources: by key.
        folder: files at any depth and of any name are matched by their hashes; None downloads what is missing.
        downloads: folder in which downloaded files are kept.

    Raises:
        ProofError: sources are missing, or have other content than expected.
    """
    if folder is not None and not folder.is_dir():
        raise ProofError(f"no folder {folder}: --from needs a folder with the sources, at any depth")
    files = {} if folder is None else {hash_of(path): path for path in readable_files(folder)}
    paths: dict[str, Path] = {}
    problems: list[str] = []
    for key, source in sources.items():
        try:
            paths[key] = downloaded(source, downloads) if folder is None else chosen(source, files, folder)
        except ProofError as error:
            problems.append(str(error))
    if problems:
        raise ProofError("\n".join([*problems, advice(len(problems), len(sources), folder)]))
    return paths


def advice(n_missing: int, n_sources: int, folder: Path | None) -> str:
    """Return the line that says what a user can do about missing sources."""
    missing = f"{n_missing} of {n_sources} sources are missing or differ"
    if folder is None:
        return f"{missing}. Connect to the network, or name a folder that holds them: make proof FROM=FOLDER"
    return f"{missing} in {folder}. Add them under any name, or download them: make proof"


def readable_files(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder, at any depth, that are small enough to be a source."""
    return (path for path in sorted(folder.rglob("*")) if path.is_file() and path.stat().st_size <= MOST_BYTES)


def hash_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def chosen(source: Source, files: Mapping[str, Path], folder: Path) -> Path:
    """Return the file of a folder whose hash is that of the source."""
    matches = [path for sha256, path in files.items() if source.accepts(sha256)]
    if matches:
        return matches[0]
    namesake = next(((sha256, path) for sha256, path in files.items() if path.name == source.name), None)
    if namesake is not None:
        raise ProofError(differs(namesake[1], namesake[0], source))
    raise ProofError(f"missing in {folder}: {source.name}, SHA-256 {source.sha256}, from {source.url}")


def differs(path: Path, sha256: str, source: Source) -> str:
    """Return the line about a file that has another content than the source."""
    return f"{path} is not the published file: got SHA-256 {sha256}, expected {source.sha256}. Download {source.url}"


def downloaded(source: Source, downloads: Path) -> Path:
    """Return the downloaded file of a source, of an earlier command if it is there."""
    path = downloads / source.repository / source.path
    if path.is_file() and source.accepts(hash_of(path)):
        return path
    try:
        with urllib.request.urlopen(source.url, timeout=TIMEOUT) as answer:
            content = answer.read()
    except (urllib.error.URLError, OSError) as error:
        raise ProofError(f"cannot download {source.url}: {getattr(error, 'reason', None) or error}") from error
    sha256 = hashlib.sha256(content).hexdigest()
    if not source.accepts(sha256):
        raise ProofError(differs(Path(source.name), sha256, source))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


WINOGROUND = "nielspac177/Winoground-Evaluating-CLIP-MCC225"
MODEL_VS_HUMAN = "kayburns/model-vs-human"
MODALITY_GAP = "Weixin-Liang/Modality-Gap"
DISTILL = "distillpub/post--multimodal"
COMMITS = {
    WINOGROUND: "ad6f431fe0668f465475db2fa070417c57c89103",
    MODEL_VS_HUMAN: "78a3a471477a16d48f76151ba34e4671d36df9ec",
    MODALITY_GAP: "8e20cb24efa4c5f89aad694f2f65eb43ffc46d10",
    DISTILL: "48e435468932a86894a889afa7ea1125a97c525d",
}
LICENCES = {
    WINOGROUND: "none",
    MODEL_VS_HUMAN: "code MIT, none for the tables",
    MODALITY_GAP: "MIT",
    DISTILL: "CC BY 4.0",
}


def source_in(repository: str, path: str, sha256: str, cut_sha256: str | None = None) -> Source:
    """Return a file of one of the repositories above."""
    return Source(
        repository=repository,
        commit=COMMITS[repository],
        path=path,
        sha256=sha256,
        licence=LICENCES[repository],
        cut_sha256=cut_sha256,
    )


PREDICTIONS = "raw-data/imagenet_validation/imagenet_validation_{}_session-1.csv"
SOURCES = {
    "winoground": source_in(
        WINOGROUND,
        "data/embeddings/winoground_real_vitb32.npz",
        "aa6fd5f76dc893d9a0d130d531b351c2b04f7d1799f56de0609b8d470b3506ca",
    ),
    "flags": source_in(
        WINOGROUND,
        "outputs/metrics/per_example.csv",
        "0d3bfedc38d7d36379ed14e0dc5f9e32f573f45a22938a7130a7b065164c6f1a",
    ),
    "clip": source_in(
        MODEL_VS_HUMAN,
        PREDICTIONS.format("clip"),
        "4d68afe9997879461ea99979c630917d1a2c6b5b5fabf67852ec3628c79b2180",
        "961bf5cdf9ab11423ce92722f6c1d9c4aaa9d58216055229e1602075b4e810a9",
    ),
    "resnet50": source_in(
        MODEL_VS_HUMAN,
        PREDICTIONS.format("resnet50"),
        "d82d81d0cfe3944796d3635c7bc8af59cccf7f08d93e6af35bf9e7180c4b68cc",
        "29c9b9b79b42e341bde18d5911bc710b25221cacd78825e5a2f843d777be8b2f",
    ),
    "dinov2": source_in(
        MODEL_VS_HUMAN,
        PREDICTIONS.format("vits-dinov2"),
        "0df28c496395f49e4f165bb99bc97bec26931f61060770f29dfda627c17f7c74",
        "e8fabf3b4a7a8e7795e75b2a2fd20a61c51100f517651fa4028a7fc5f6cf36fe",
    ),
    "cue-conflict": source_in(
        MODEL_VS_HUMAN,
        "raw-data/cue-conflict/cue-conflict_clip_session-1.csv",
        "e566f4972ebe6c3d6ba292ba8308bb187cf51fe882119be77cbf92a0ae40ffcc",
    ),
    "trained": source_in(
        MODALITY_GAP,
        "Figure_1_Modality_Gap/features_clip.npy",
        "7227280ace0f145d2c45afa8ab507a1cb280e9460aa271fe9052d08e35342adb",
    ),
    "random": source_in(
        MODALITY_GAP,
        "Figure_1_Modality_Gap/features_clip_random.npy",
        "c6a5f9ca3fba36d635fd47d20b3cdd5b9ac78dc462070240fdc2ee2786110403",
    ),
    "typographic": source_in(
        DISTILL,
        "public/typographic/in_the_wild_2.json",
        "341bdc89c2e11a8e398f6c2ae45f29fb37e634ad72cee46c5788b7b715f0893d",
    ),
}
