"""Refuse model files that ask their library for more than numbers and words: code, or another file.

Two guards, as each may miss what a later version of a library does (design/security.md). ``check_model`` reads a model's
JSON files before any library does, and refuses by name what would run code or leave the model's folder.
``no_foreign_code`` holds while a library loads: it lets none of them run a model's Python files or unpickle objects,
however it was asked to.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from clipbench.errors import ModelError
from clipbench.files import is_inside
from clipbench.hub import HUB_NAME
from clipbench.models.trust.config_limits import SIDES, SIDES_OF_IMAGES, check_sizes
from clipbench.untrusted.reading import (
    MOST_BYTES_OF_SETTINGS,
    is_file,
    is_folder,
    is_there,
    read_json,
    refuse_special_files,
)

CONFIGS: Mapping[str, frozenset[str] | None] = {
    "config.json": SIDES,
    "open_clip_config.json": SIDES,
    "tokenizer_config.json": None,
    "preprocessor_config.json": SIDES_OF_IMAGES,
    "processor_config.json": SIDES_OF_IMAGES,
    "model.safetensors.index.json": None,
    "pytorch_model.bin.index.json": None,
}
"""The files of a model from which its libraries take arguments, with the names of sides of images in them."""
ADAPTER_CONFIG = "adapter_config.json"

NO_CODE = "clipbench never runs code that comes with a model"
ADVICE = "drop the setting if the model does without it"

TOKENIZER_ARGUMENTS = {
    *(
        "clean",
        "strip_sep_token",
        "language",
        "use_fast",
        "legacy",
        "add_prefix_space",
        "add_bos_token",
        "add_eos_token",
    ),
    *("do_lower_case", "model_max_length", "padding_side", "truncation_side"),
}
"""The arguments of open_clip's and transformers' tokenizers that change the tokens and do nothing else."""
TIMM_SOURCES = {"checkpoint_path", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir"}
"""The arguments of timm.create_model by which it reads other files."""

ENVIRONMENT = {
    "TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1",
    "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": None,
    "DISABLE_SAFETENSORS_CONVERSION": "1",
}
"""The first makes torch.load refuse objects even where a library asks for them, and excludes the second; without the
third, transformers tells a service of the Hub, from a thread, which pickled weights it has loaded."""


def check_model(name: str, reference: str) -> tuple[str, ...]:
    """Refuse a folder or a Hub repository whose files ask for code, for files of another place, or for absurd sizes.

    What is not in the Hub's cache is fetched, unless requests to the Hub fail at once: then no library reads it either.
    Returns a note where the files name code that the library does without.

    A file that this module cannot read, its library may read well: it is refused, as nothing is known of its settings.

    Raises:
        ModelError: the message names the file and the setting.
    """
    if is_folder(name):
        refuse_special_files(Path(name), ModelError)
    if _file_of(name, ADAPTER_CONFIG) is not None:
        raise ModelError(
            f"{reference} has {ADAPTER_CONFIG}, which adds weights to a model of another place: merge them and save the whole"
            " model"
        )
    named = []
    for config, sides in CONFIGS.items():
        path = _file_of(name, config)
        if path is not None:
            settings = read_json(path, ModelError, name=f"{reference}: {config}", most=MOST_BYTES_OF_SETTINGS)
            check_settings(settings, config, reference, folder=path.parent, is_local=is_folder(name))
            if sides is not None:
                check_sizes(settings, f"{reference}: {config}", sides)
            named += [config] if isinstance(settings, Mapping) and settings.get("auto_map") else []
    if not named:
        return ()
    return (f"the code that {name} brings (auto_map in {', '.join(named)}) was not run: the library has its own",)


def check_settings(settings: object, source: str, reference: str, *, folder: Path, is_local: bool) -> None:
    """Refuse settings that ask for code, or for files of another place.

    Args:
        settings: the content of a JSON file.
        source: its name, for messages.
        reference: the model, for messages.
        folder: where it lies.
        is_local: True where open_clip takes the tokenizer from the folder, whatever its name.

    Raises:
        ModelError: the message names the setting.
    """
    for place, key, value in _settings(settings, ""):
        if is_local and key == "hf_tokenizer_name":
            continue
        reason = _names_file_elsewhere(key, value, folder) or (RULES[key](value) if key in RULES else None)
        if reason is not None:
            raise ModelError(f"{reference}: {source} sets {place}, which {reason}")


@contextmanager
def no_foreign_code() -> Iterator[None]:
    """Make torch and transformers refuse a model's own code and pickled objects, however they are asked for them."""
    from transformers import dynamic_module_utils as dynamic

    replaced = {name: getattr(dynamic, name) for name in ("get_cached_module_file", "get_class_in_module")}
    seconds, environment = dynamic.TIME_OUT_REMOTE_CODE, {name: os.environ.get(name) for name in ENVIRONMENT}
    for name in replaced:
        setattr(dynamic, name, _refuse_code)
    dynamic.TIME_OUT_REMOTE_CODE = 0  # else it asks on the terminal whether to run the code
    _set_environment(ENVIRONMENT)
    try:
        yield
    finally:
        for name, function in replaced.items():
            setattr(dynamic, name, function)
        dynamic.TIME_OUT_REMOTE_CODE = seconds
        _set_environment(environment)


def needs_code(reference: str) -> ModelError:
    """Return the error for a model that its library cannot build without the model's own code."""
    return ModelError(
        f"{reference} needs Python code from its repository, which is not run unasked: give --trust-remote-code with"
        " ORG/REPO@COMMIT after reading the code, wrap the model as python:MODULE:FACTORY, or store its vectors and give"
        " embeddings:FILE"
    )


def asks_for_code(error: BaseException) -> bool:
    """Return whether a library's error says that it would have to run a model's own code."""
    return "trust_remote_code" in str(error)


def _refuse_code(*_: object, **__: object) -> NoReturn:
    raise ValueError("the model's own code is not run (trust_remote_code)")


def _set_environment(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _file_of(name: str, file: str) -> Path | None:
    """Return a file of a folder, or of a repository of the Hub; None where there is none."""
    if is_folder(name):
        path = Path(name, file)
        return path if is_file(path) else None
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    try:
        return Path(hf_hub_download(name, file))
    except EntryNotFoundError:  # also: not in the cache, and no request was allowed
        return None


def _settings(value: object, place: str) -> Iterator[tuple[str, str, Any]]:
    """Yield each setting with its place, such as ``text_cfg.tokenizer_kwargs``, however deep it lies."""
    pending = [(place, value)]
    while pending:
        place, value = pending.pop()
        if isinstance(value, Mapping):
            for key, inner in value.items():
                inner_place = f"{place}.{key}" if place else str(key)
                yield inner_place, str(key), inner
                pending.append((inner_place, inner))
        elif isinstance(value, list):
            pending += [(f"{place}[{number}]", inner) for number, inner in enumerate(value)]


def _names_file_elsewhere(key: str, value: object, folder: Path) -> str | None:
    if not (key.endswith("_file") and isinstance(value, str) and re.search(r"[/\\]", value)):
        return None
    path = Path(value)
    is_elsewhere = is_there(path) and not is_inside(path, folder)
    return f"names a file of another place ({value}): {ADVICE}" if is_elsewhere else None


def _trust(value: object) -> str | None:
    return f"asks for code to be run: {NO_CODE}; {ADVICE}" if value else None


def _kernel(value: object) -> str | None:
    is_named = isinstance(value, Mapping) or "/" in str(value)
    return f"names a kernel of the Hub, which is code: {NO_CODE}; {ADVICE}" if value and is_named else None


def _source(value: object) -> str | None:
    is_elsewhere = isinstance(value, str) and (":" in value or value.startswith(("/", "\\", ".", "~")))
    return f"names a model of another place ({value}): expected the name of an architecture" if is_elsewhere else None


def _repository(value: object) -> str | None:
    is_name = (
        isinstance(value, str) and re.fullmatch(HUB_NAME, value) and not value.startswith(".") and ".." not in value
    )
    if value is None or value == "" or is_name:
        return None
    return f"names a model of another place ({value!r}): expected the name of a Hub repository"


def _tokenizer_arguments(value: object) -> str | None:
    unknown = sorted({*value} - TOKENIZER_ARGUMENTS) if isinstance(value, Mapping) else []
    names = f"passes {', '.join(unknown)} to the tokenizer's loader, which may read other files or run code"
    return f"{names}: expected only {', '.join(sorted(TOKENIZER_ARGUMENTS))}; {NO_CODE}" if unknown else None


def _timm_arguments(value: object) -> str | None:
    named = sorted(key for key in value if key in TIMM_SOURCES and value[key]) if isinstance(value, Mapping) else []
    return f"passes {', '.join(named)} to timm, which then reads other files: {ADVICE}" if named else None


def _weight_files(value: object) -> str | None:
    names = value.values() if isinstance(value, Mapping) else [value]
    outside = next((name for name in names if isinstance(name, str) and _leaves_folder(name)), None)
    return None if outside is None else f"names weights of another place ({outside}): expected files beside it"


def _leaves_folder(name: str) -> bool:
    return name.startswith(("/", "\\", "~")) or ":" in name or ".." in re.split(r"[/\\]", name)


RULES: Mapping[str, Callable[[object], str | None]] = {
    "trust_remote_code": _trust,
    "code_revision": _trust,
    "use_kernels": _trust,
    **dict.fromkeys(("attn_implementation", "_attn_implementation", "_attn_implementation_internal"), _kernel),
    **dict.fromkeys(("experts_implementation", "_experts_implementation", "kernel_config"), _kernel),
    **dict.fromkeys(("architecture", "backbone", "timm_model_name"), _source),
    **dict.fromkeys(("hf_model_name", "hf_tokenizer_name"), _repository),
    "tokenizer_kwargs": _tokenizer_arguments,
    **dict.fromkeys(("model_args", "backbone_kwargs"), _timm_arguments),
    **dict.fromkeys(("weight_map", "transformers_weights"), _weight_files),
}
"""Returns, for each setting that a library acts upon, the reason why a value is refused, or None."""
