"""The Hugging Face Hub: cached files need no network, and an unreachable Hub is reported at once.

The Hub's own clients retry for minutes when a firewall drops their packets. So the cache is tried first. Only if it
lacks a file, one request with a hard time limit finds out whether a download can work.
"""

import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from clipbench.errors import ClipbenchError, Unavailable, option
from clipbench.untrusted.reading import is_folder

PROBE_SECONDS = 3.0
HUB_NAME = r"[\w.-]+(?:/[\w.-]+)?"
"""Name of a repository, as a regular expression."""

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class HubRequest:
    """A download from the Hub, with the texts of its error message."""

    subject: str
    """Name of the thing, such as ``the weights of open_clip:ViT-B-32/laion2b_s34b_b79k``."""
    repository: str
    """Its Hub repository, ``ORG/NAME``."""
    remedy: str
    """Advice for the user: how to put it in place by hand, and what runs without it."""


def model_request(subject: str, repository: str, prefix: str) -> HubRequest:
    """Return the request for files of a model, which may also be a folder of the adapter ``prefix``."""
    remedy = (
        f"on a machine with a network, run `hf download {repository} --local-dir FOLDER`, copy the folder"
        f" here and give {option('model', f'{prefix}:FOLDER')}, or copy a filled Hugging Face cache here and"
        " set HF_HOME. Local folders and embeddings: do not need the Hub"
    )
    return HubRequest(subject=subject, repository=repository, remedy=remedy)


def cached_first(load: Callable[[], T], request: HubRequest) -> T:
    """Return the result of ``load`` from the Hub's cache, otherwise with downloads if the Hub can be reached.

    Args:
        load: called up to twice. In the first call, every request to the Hub fails at once.

    Raises:
        Unavailable: it is not in the cache, and the Hub cannot be reached, does not have it, or keeps it closed.
    """
    from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

    try:
        with cache_only():
            return load()
    except Exception as error:
        if not any(isinstance(link, LocalEntryNotFoundError | OfflineModeIsEnabled) for link in _error_chain(error)):
            raise
    return load_online(load, request)


def load_online(load: Callable[[], T], request: HubRequest) -> T:
    """Return the result of ``load`` with requests to the Hub, if a first request shows that it can be reached.

    Raises:
        Unavailable: the Hub cannot be reached, does not have it, keeps it closed, or breaks off.
    """
    cause = unreachable_reason()
    if cause is not None:
        raise Unavailable(
            f"cannot get {request.subject}: not on this machine, and Hub repository {request.repository}"
            f" cannot be reached ({cause}). Fix: {request.remedy}"
        )
    try:
        return load()
    except ClipbenchError:
        raise
    except Exception as error:
        refused = hub_error(error, request)
        if refused is None:
            raise
        raise refused from error


def local_folder(name: str) -> Path:
    """Return the folder of a model's files: the folder itself, or the repository in the Hub's cache."""
    from huggingface_hub import constants

    return Path(name) if is_folder(name) else Path(constants.HF_HUB_CACHE) / f"models--{name.replace('/', '--')}"


def unreachable_reason(seconds: float = PROBE_SECONDS) -> str | None:
    """Return the reason why the Hub cannot be reached, or None if it answers, within the time limit.

    Honours ``HF_HUB_OFFLINE``, ``HF_ENDPOINT`` and the proxy variables. Any answer counts, a refusal too.
    """
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return f"offline, because of HF_HUB_OFFLINE or {option('offline', True)}"
    answers: list[str | None] = []
    thread = threading.Thread(  # a thread, since no timeout of a socket covers the look-up of its name
        target=lambda: answers.append(_probe_endpoint(constants.ENDPOINT, seconds)), daemon=True
    )
    thread.start()
    thread.join(seconds)
    return answers[0] if answers else f"no answer from {constants.ENDPOINT} within {seconds:g} s"


def hub_error(error: BaseException, request: HubRequest) -> ClipbenchError | None:
    """Return an error of the Hub or of the network with advice, or None for other errors."""
    from huggingface_hub import errors

    page = f"https://huggingface.co/{request.repository}"
    for link in _error_chain(error):
        if isinstance(link, errors.LocalEntryNotFoundError):  # "nor in the cache": the cause is further down the chain
            continue
        if isinstance(link, errors.GatedRepoError):
            return gated_error(request)
        if isinstance(link, errors.RepositoryNotFoundError):
            advice = "the Hub has no such repository, or it is private: check the name, or `hf auth login`"
        elif isinstance(link, errors.EntryNotFoundError):
            advice = f"the repository lacks a file that is needed: see {page}"
        elif isinstance(link, errors.HfHubHTTPError):
            advice = _status_advice(getattr(link.response, "status_code", None), page, request)
        elif isinstance(link, errors.FileMetadataError):  # a proxy, a page to log in, a redirect that is not followed
            advice = f"another server answered instead of the Hub. Fix: {request.remedy}"
        # of a file that arrived with another size than promised, the client raises a bare OSError
        elif isinstance(link, errors.HTTPError | ConnectionError | TimeoutError) or (
            isinstance(link, OSError) and "Consistency check failed" in str(link)
        ):
            advice = f"the connection broke. Fix: {request.remedy}"
        else:
            continue
        return _fetch_error(request, advice)
    return None


def gated_error(request: HubRequest) -> Unavailable:
    """Return the error for a repository whose licence must be accepted."""
    page = f"https://huggingface.co/{request.repository}"
    return _fetch_error(request, f"gated: accept the licence at {page}, then `hf auth login`")


@contextmanager
def cache_only() -> Iterator[None]:
    """Make every request to the Hub fail at once, for libraries without an option for that.

    Setting ``HF_HUB_OFFLINE`` would come too late: the client reads it once, when it is imported.
    """
    from huggingface_hub import constants

    was_offline = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = was_offline


def _probe_endpoint(url: str, seconds: float) -> str | None:
    try:
        opener = urllib.request.build_opener()  # a new one: urlopen's keeps the proxies of its first call
        with opener.open(urllib.request.Request(url, method="HEAD"), timeout=seconds):
            return None
    except urllib.error.HTTPError:
        return None
    except (OSError, ValueError) as error:
        return f"no connection to {url}: {getattr(error, 'reason', error)}"


def _error_chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and its causes and contexts, since libraries wrap the Hub's errors."""
    visited: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in visited:
        visited.add(id(link))
        yield link
        link = link.__cause__ or link.__context__


def _fetch_error(request: HubRequest, advice: str) -> Unavailable:
    return Unavailable(f"cannot get {request.subject} from Hub repository {request.repository}: {advice}")


def _status_advice(status: int | None, page: str, request: HubRequest) -> str:
    if status in (401, 403):
        return f"the Hub answered {status}: ask for access at {page}, then `hf auth login`"
    if status == 429:
        return (
            "the Hub answered 429, too many requests: wait some minutes, or `hf auth login`. "
            f"Otherwise: {request.remedy}"
        )
    return f"the Hub answered {status or 'with an error'}. Fix: {request.remedy}"
