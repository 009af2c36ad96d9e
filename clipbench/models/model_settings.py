"""Settings of a model that are refused by name: those that would run code, or read files outside of the model.

``check_model`` reads a model's JSON files before any library does. It is one guard of two, as each may miss what a
later version of a library does: ``foreign_code`` is the other (design/security.md).
"""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from clipbench.errors import ModelError
from clipbench.files import is_inside
from clipbench.hub import HUB_NAME
from clipbench.models.hub_files import file_of
from clipbench.models.protocol import Notes
from clipbench.untrusted.reading import is_folder, is_there, read_json, refuse_special_files

CONFIGS = (
    "config.json",
    "open_clip_config.json",
    "tokenizer_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "model.safetensors.index.json",
    "pytorch_model.bin.index.json",
)
"""The files of a model from which its libraries take arguments."""


ADAPTER_CONFIG = "adapter_config.json"


NO_CODE = "clipbench never runs code that comes with a model"


ADVICE = "remove the setting if the model does not need it"


TOKENIZER_ARGUMENTS = {
    "clean",
    "strip_sep_token",
    "language",
    "use_fast",
    "legacy",
    "add_prefix_space",
    "add_bos_token",
    "add_eos_token",
    "do_lower_case",
    "model_max_length",
    "padding_side",
    "truncation_side",
}
"""The arguments of open_clip's and transformers' tokenizers that change the tokens and do nothing else."""


TIMM_SOURCES = {"checkpoint_path", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir"}
"""The arguments of timm.create_model by which it reads other files."""


def check_model(name: str, reference: str) -> Notes:
    """Refuse a folder or a Hub repository whose files ask for code, or for files of another place.

    What is not in the Hub's cache is fetched, unless requests to the Hub fail at once: then no library reads it either.
    Returns a note where the files name code that the library does without.

    A file that this module cannot read, its library may read well: it is refused, as nothing is known of its settings.

    Raises:
        ModelError: the message names the file and the setting.
    """
    if is_folder(name):
        refuse_special_files(Path(name), ModelError)
    if file_of(name, ADAPTER_CONFIG) is not None:
        raise ModelError(
            f"{reference} has {ADAPTER_CONFIG}, which adds weights to another model: "
            "merge them and save the complete model"
        )
    coded = []
    for config in CONFIGS:
        path = file_of(name, config)
        if path is not None:
            settings = read_json(path, ModelError, name=f"{reference}: {config}")
            check_settings(settings, config, reference, folder=path.parent, is_local=is_folder(name))
            coded += [config] if isinstance(settings, Mapping) and settings.get("auto_map") else []
    if not coded:
        return ()
    return (f"the code in {name} (auto_map in {', '.join(coded)}) was not run: the library has its own",)


def check_settings(settings: object, source: str, reference: str, *, folder: Path, is_local: bool) -> None:
    """Raise ModelError if settings of a JSON file require code, or files outside of the model.

    Args:
        source: name of the file in its ``folder``, for messages.
        is_local: True where open_clip takes the tokenizer from the folder, whatever its name.
    """
    for setting_path, key, value in _nested_settings(settings):
        if is_local and key == "hf_tokenizer_name":
            continue
        reason = _names_file_elsewhere(key, value, folder) or (RULES[key](value) if key in RULES else None)
        if reason is not None:
            raise ModelError(f"{reference}: {source} sets {setting_path}, which {reason}")


def _nested_settings(settings: object) -> Iterator[tuple[str, str, Any]]:
    """Yield each setting with its path, such as ``text_cfg.tokenizer_kwargs``, at any depth."""
    pending = [("", settings)]
    while pending:
        setting_path, value = pending.pop()
        if isinstance(value, Mapping):
            for key, inner in value.items():
                inner_path = f"{setting_path}.{key}" if setting_path else str(key)
                yield inner_path, str(key), inner
                pending.append((inner_path, inner))
        elif isinstance(value, list):
            pending += [(f"{setting_path}[{number}]", inner) for number, inner in enumerate(value)]


def _names_file_elsewhere(key: str, value: object, folder: Path) -> str | None:
    if not (key.endswith("_file") and isinstance(value, str) and re.search(r"[/\\]", value)):
        return None
    path = Path(value)
    is_elsewhere = is_there(path) and not is_inside(path, folder)
    return f"names a file outside its folder ({value}): {ADVICE}" if is_elsewhere else None


def _trust(value: object) -> str | None:
    return f"requests code to be run: {NO_CODE}. Fix: {ADVICE}" if value else None


def _kernel(value: object) -> str | None:
    is_named = isinstance(value, Mapping) or "/" in str(value)
    return f"names a kernel of the Hub, which is code: {NO_CODE}. Fix: {ADVICE}" if value and is_named else None


def _source(value: object) -> str | None:
    is_elsewhere = isinstance(value, str) and (":" in value or value.startswith(("/", "\\", ".", "~")))
    return f"names a model elsewhere ({value}): expected the name of an architecture" if is_elsewhere else None


def _repository(value: object) -> str | None:
    is_name = (
        isinstance(value, str) and re.fullmatch(HUB_NAME, value) and not value.startswith(".") and ".." not in value
    )
    if value is None or value == "" or is_name:
        return None
    return f"names a model elsewhere ({value!r}): expected the name of a Hub repository"


def _tokenizer_arguments(value: object) -> str | None:
    unknown = sorted({*value} - TOKENIZER_ARGUMENTS) if isinstance(value, Mapping) else []
    names = f"passes {', '.join(unknown)} to the tokenizer's loader, which may read other files or run code"
    return f"{names}: expected only {', '.join(sorted(TOKENIZER_ARGUMENTS))} ({NO_CODE})" if unknown else None


def _timm_arguments(value: object) -> str | None:
    if not isinstance(value, Mapping):
        return None
    sources = sorted(key for key in value if key in TIMM_SOURCES and value[key])
    return f"passes {', '.join(sources)} to timm, which then reads other files: {ADVICE}" if sources else None


def _weight_files(value: object) -> str | None:
    names = list(value.values()) if isinstance(value, Mapping) else [value]
    for name in names:
        if not isinstance(name, str):
            continue
        if name.startswith(("/", "\\", "~")) or ":" in name or ".." in re.split(r"[/\\]", name):
            return f"names weights outside its folder ({name}): expected files in its folder"
    return None


KERNEL_SETTINGS = (
    "attn_implementation",
    "_attn_implementation",
    "_attn_implementation_internal",
    "experts_implementation",
    "_experts_implementation",
    "kernel_config",
)


RULES: Mapping[str, Callable[[object], str | None]] = {
    **dict.fromkeys(("trust_remote_code", "code_revision", "use_kernels"), _trust),
    **dict.fromkeys(KERNEL_SETTINGS, _kernel),
    **dict.fromkeys(("architecture", "backbone", "timm_model_name"), _source),
    **dict.fromkeys(("hf_model_name", "hf_tokenizer_name"), _repository),
    "tokenizer_kwargs": _tokenizer_arguments,
    **dict.fromkeys(("model_args", "backbone_kwargs"), _timm_arguments),
    **dict.fromkeys(("weight_map", "transformers_weights"), _weight_files),
}
"""Returns, for each setting that a library acts upon, the reason why a value is refused, or None."""
