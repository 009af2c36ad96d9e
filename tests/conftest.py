"""Conditions of every test: no network, and models with random weights for those that ask."""

import functools
import gc
import importlib.util
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jaxtyping
import pytest
from hypothesis import settings
from jaxtyping import install_import_hook

import clipbench

if TYPE_CHECKING:
    from playwright.sync_api import Browser

PACKAGES = ("clipbench", "clipbench_tasks", "clipbench_reports")
SCHEMA = Path(__file__).parents[1] / "docs" / "schemas" / "result-1.json"

gc.disable()  # hardly any of what is imported and collected is ever let go: to look for it takes seconds


def pytest_configure(config: pytest.Config) -> None:
    from tests.skips import Skips

    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Skips(is_ci=IS_CI))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write tests/golden as it is said now")


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def _results_follow_their_schema() -> Iterator[None]:
    """Hold each result that is written in this process against docs/schemas/result-1.json."""
    import jsonschema_rs

    from clipbench.results import run

    validator = jsonschema_rs.validator_for(json.loads(SCHEMA.read_text(encoding="utf-8")))
    write = vars(run)["write_atomic"]

    def checked(files: Mapping[Path, bytes], *, is_durable: bool = False) -> None:
        for path, content in files.items():
            if path.name == "result.json":
                validator.validate(json.loads(re.sub(rb"\\ud[89a-f]..", b"?", content)))  # halves of surrogates
        write(files, is_durable=is_durable)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "write_atomic", checked)
        yield


def modules_with_shapes() -> list[str]:
    """Return the modules that say shapes of arrays; the others call each other a million times and have none to
    check.
    """
    result = []
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        assert spec is not None and spec.submodule_search_locations is not None, package
        root = Path(spec.submodule_search_locations[0])
        files = (file for file in root.rglob("*.py") if "from jaxtyping import" in file.read_text(encoding="utf-8"))
        result += [".".join((package, *file.relative_to(root).with_suffix("").parts)) for file in files]
    return result


def has_arrays(defined: Any) -> bool:
    """Return whether a function, or the constructor of a dataclass, says that it takes or returns arrays."""
    function = vars(defined).get("__init__") if is_dataclass(defined) else defined
    annotations = getattr(function, "__annotations__", {}).values()
    return any(
        isinstance(annotation, str) or re.search("jaxtyping|ndarray|Tensor", repr(annotation))
        for annotation in annotations
    )


CHECKED_CALLS = 10
"""Calls of a function whose arrays are checked in one test: a simulation calls some a hundred thousand times."""
calls_in_test = Counter[str]()


def pytest_runtest_setup() -> None:
    calls_in_test.clear()


def check_arrays(*, typechecker: Any) -> Callable[[Any], Any]:
    """Return jaxtyping's decorator of all that an instrumented module defines: without arrays there is no shape to
    check.
    """
    jaxtyped = _jaxtyped(typechecker=typechecker)

    def decorate(defined: Any) -> Any:
        if not has_arrays(defined):
            return defined
        checked = jaxtyped(defined)
        return checked if isinstance(defined, type) else with_checked_calls(defined, checked)

    return decorate


def with_checked_calls(function: Callable[..., Any], checked: Callable[..., Any]) -> Callable[..., Any]:
    """Return the checked function, which is as it was defined from the ``CHECKED_CALLS``-th call of a test on."""
    name = f"{function.__module__}.{function.__qualname__}"

    @functools.wraps(function)
    def call(*args: Any, **keywords: Any) -> Any:
        calls_in_test[name] += 1
        return (checked if calls_in_test[name] <= CHECKED_CALLS else function)(*args, **keywords)

    return call


_jaxtyped = jaxtyping.jaxtyped
jaxtyping.jaxtyped = check_arrays  # type: ignore[assignment]
install_import_hook(modules_with_shapes(), "beartype.beartype")

for _name in clipbench.__all__:  # pytest makes a second module of what it collects doctests of before anyone imports it
    getattr(clipbench, _name)

settings.register_profile("steady", deadline=None)
settings.load_profile("steady")  # how long an example takes says more of what else the machine does

NOWHERE = "http://127.0.0.1:9"
"""Nothing answers here, and says so at once: a test that asks for the Hub by mistake fails in no time."""

os.environ["HF_ENDPOINT"] = NOWHERE
os.environ["HF_HOME"] = str(Path(__file__).parent / "no-such-folder")
IS_CI = bool(os.environ.pop("CI", None))  # it answers questions
for _proxy in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
    os.environ.pop(_proxy, None)
    os.environ.pop(_proxy.lower(), None)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Nothing is read from or written to the user's cache, and ``run`` tries no changes, which take half its time."""
    os.environ["CLIPBENCH_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    os.environ["CLIPBENCH_NO_PREFLIGHT"] = "1"


@pytest.fixture
def with_preflight(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command ``run`` examines the model first, and tries changes, as it does by default."""
    monkeypatch.delenv("CLIPBENCH_NO_PREFLIGHT")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A Hub on this machine that the true clients talk to; they never wait before they try again."""
    import datasets
    from huggingface_hub import constants
    from huggingface_hub.utils import close_session, disable_progress_bars, enable_progress_bars

    from tests import hub_server

    with hub_server.running(tmp_path / "served") as (served, address):
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 50)  # less than a chunk is lost when it breaks
        monkeypatch.setattr(datasets.config, "HF_ENDPOINT", address)
        monkeypatch.setattr("time.sleep", lambda seconds: None)
        close_session()
        disable_progress_bars()
        yield served
        enable_progress_bars()
        close_session()


@pytest.fixture
def library_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Converted rows go below this folder."""
    import datasets

    cache = tmp_path_factory.mktemp("library-cache")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", cache)
    datasets.disable_progress_bars()
    return cache


@pytest.fixture(scope="session")
def small_clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny CLIP for ``local-dir:`` (3 million parameters, 32 px)."""
    from tests.clipbench.models import small_models

    return small_models.open_clip_folder(tmp_path_factory.mktemp("models") / "clip", small_models.CLIP)


@pytest.fixture(scope="session")
def small_siglip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny SigLIP with its tokenizer, for ``local-dir:``."""
    from tests.clipbench.models import small_models

    folder = tmp_path_factory.mktemp("models") / "siglip"
    return small_models.open_clip_folder(folder, small_models.SIGLIP, preprocess=small_models.HALVES)


@pytest.fixture(scope="session")
def vit_b_32_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A checkpoint of the true ViT-B-32 with random weights, for ``--arch ViT-B-32``; 300 MB, removed at the end."""
    from tests.clipbench.models import small_models

    path = small_models.save_vit_b_32(tmp_path_factory.mktemp("models") / "vit-b-32.safetensors")
    yield path
    path.unlink()


@pytest.fixture(scope="session")
def siglip_b_16_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The true ViT-B-16-SigLIP with random weights and a small tokenizer, for ``local-dir:``; removed at the end."""
    from tests.clipbench.models import small_models

    folder = small_models.save_siglip_b_16(tmp_path_factory.mktemp("models") / "siglip-b-16")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a finished run, which stays as it is: zero-shot and modality gap of made-up vectors."""
    import numpy as np

    import clipbench as cb

    rng = np.random.default_rng(0)
    images = rng.normal(size=(12, 8))
    texts, class_texts = images + rng.normal(size=(12, 8)), rng.normal(size=(3, 8))
    classes: dict[str, Any] = {"labels": np.arange(12) % 3, "class_texts": class_texts}
    model = cb.vectors(images=images, texts=texts, **classes, logit_scale=10.0, name="made")
    return cb.run(model, ["zero-shot", "modality-gap"]).save(tmp_path_factory.mktemp("finished") / "run").folder


@pytest.fixture(scope="session")
def browser() -> Iterator["Browser"]:
    """Start a headless Chromium, Debian's or any other that is on the path: once, as a process can start one only."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Python's playwright is not installed")
    result = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if result is None:
        pytest.skip("no Chromium on the path: apt-get install chromium")
    playwright.expect.set_options(timeout=30_000)  # a machine under load is slow, and not wrong
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=result, args=["--no-sandbox"])
        yield started
        started.close()
