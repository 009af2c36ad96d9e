"""Limits on what a model may contain: files that refer to code or other files are refused, code runs only from a pin.

Two guards, as each may miss what a later version of a library does (design/security.md). ``check_model`` reads a
model's JSON files before any library does, and refuses by name what would run code or leave the model's folder.
``no_foreign_code`` holds while a library loads: it lets none of them run a model's Python files or unpickle objects,
however it was asked to. Code that comes with a model is run only if the user allows it, from one commit of a Hub
repository, shown before: a branch may hold other code tomorrow, and a folder is pinned by nothing.
"""

import hashlib
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from clipbench.errors import ModelError, UsageError, model_option, option
from clipbench.files import is_inside
from clipbench.hub import HUB_NAME
from clipbench.models.fingerprint import digest
from clipbench.models.options import LoadOptions
from clipbench.models.protocol import Notes
from clipbench.untrusted.reading import is_file, is_folder, is_there, read_json, refuse_special_files
from clipbench.untrusted.terminal import printable

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

ENVIRONMENT = {
    "TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1",
    "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": None,
    "DISABLE_SAFETENSORS_CONVERSION": "1",
}
"""The first makes torch.load refuse objects even if a library requests them, and excludes the second. Without the
third, transformers reports to a service of the Hub, from a thread, which pickled weights it has loaded.
"""


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


def needs_code_error(reference: str) -> ModelError:
    """Return the error for a model that its library cannot build without the model's own code."""
    return ModelError(
        f"{reference} needs Python code from its repository, which is not run by default: give"
        f" {option('trust_remote_code', True)} with ORG/REPO@COMMIT after reading the code, wrap the model as"
        " python:MODULE:FACTORY, or store its vectors and give embeddings:FILE"
    )


def is_code_request(error: BaseException) -> bool:
    """Return whether a library's error is about running a model's own code."""
    return "trust_remote_code" in str(error)


def _refuse_code(*_: object, **__: object) -> NoReturn:
    raise ValueError("the model's own code is not run (trust_remote_code)")


def _set_environment(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def file_of(name: str, file: str) -> Path | None:
    """Return a file of a folder, or of a repository of the Hub, or None if there is none."""
    if is_folder(name):
        path = Path(name, file)
        return path if is_file(path) else None
    return hub_file(name, file)


def hub_file(name: str, file: str) -> Path | None:
    """Return a file of a Hub repository, or None if it does not exist, or is not cached when offline."""
    from huggingface_hub import hf_hub_download, is_offline_mode
    from huggingface_hub.errors import EntryNotFoundError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(name, file))
    except LocalEntryNotFoundError:
        if not is_offline_mode():  # the Hub did not say that there is none
            raise
        return None
    except (EntryNotFoundError, HFValidationError):  # the latter for a path
        return None


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
    sources = sorted(key for key in value if key in TIMM_SOURCES and value[key]) if isinstance(value, Mapping) else []
    return f"passes {', '.join(sources)} to timm, which then reads other files: {ADVICE}" if sources else None


def _weight_files(value: object) -> str | None:
    names = [name for name in (value.values() if isinstance(value, Mapping) else [value]) if isinstance(name, str)]
    for name in names:
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


COMMIT = r"[0-9a-f]{40}"
CLASS_ELSEWHERE = re.compile(r"(?!\w+://)(.+)--[^\W\d][\w/-]*(\.[^\W\d]\w*)+")
"""A class of another place, such as ``org/code--module.Class``, anywhere in a model's files."""

SETTINGS = ("*.json", "*.py", "*.txt", "*.model", "*.jinja")
"""Files of a repository that are fetched in any case. Weights follow in the available form."""

WEIGHTS = ("*.safetensors", "*.bin")
"""Forms of weights, best first."""

ELSEWHERE = ("onnx/*", "openvino/*", "*.onnx", "*.msgpack", "*.h5", "*.gguf")


@dataclass(frozen=True)
class Pinned:
    """A folder, or a repository of the Hub that may be pinned to a commit."""

    name: str
    commit: str | None = None


@dataclass(frozen=True)
class TrustedCode:
    """The code that a model may run."""

    identity: str
    """Hash of all of its files."""
    note: str
    folder: Path
    """The model's own."""
    other: Pinned | None
    """The other repository that holds code, if any."""


def resolve_source(body: str, reference: str, options: LoadOptions) -> Pinned:
    """Return the source of a reference ``FOLDER``, ``ORG/REPO`` or ``ORG/REPO@COMMIT``.

    Raises:
        UsageError: another form, or code that no commit pins shall run.
    """
    prefix = reference.partition(":")[0]
    needs = (
        f"{option('trust_remote_code', True)} runs code at a commit that you have read: expected"
        f" {prefix}:ORG/REPO@COMMIT, 40 hex digits"
    )
    if is_folder(body):
        if options.trust_remote_code:
            raise UsageError(f"{reference} is a folder, which no commit pins, and {needs}")
        return Pinned(body)
    match = re.fullmatch(rf"({HUB_NAME})(?:@(.*))?", body)
    if match is None:
        raise UsageError(
            f"'{reference}' is neither a folder nor a name on the Hub: expected {prefix}:FOLDER or {prefix}:ORG/REPO"
        )
    name, commit = match[1], match[2]
    if commit is not None and not re.fullmatch(COMMIT, commit):
        raise UsageError(
            f"'{reference}' names '{commit}', which may change: expected a commit, {prefix}:ORG/REPO@ and 40 hex digits"
        )
    if commit is None and options.trust_remote_code:
        raise UsageError(f"{reference} names no commit, and {needs}. The code of a branch may change")
    return Pinned(name, commit)


def snapshot_folder(name: str, commit: str | None, forms: Sequence[str] = WEIGHTS) -> Path:
    """Return the folder of a repository's files, without weights for other libraries, ignoring an incomplete cache.

    Args:
        forms: of weights, of which the first that is there is fetched.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    folder = settings_folder(name, commit)
    for form in forms:
        snapshot_download(name, revision=commit, allow_patterns=[form], ignore_patterns=[*ELSEWHERE])
        if any(folder.rglob(form)):
            return folder
    raise LocalEntryNotFoundError(f"the cache holds no weights of {name}")


def settings_folder(name: str, commit: str | None = None) -> Path:
    """Return the folder of a repository's files except its weights."""
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(name, revision=commit, allow_patterns=[*SETTINGS], ignore_patterns=[*ELSEWHERE]))


def show_code(source: Pinned, folder: Path, options: LoadOptions) -> TrustedCode | None:
    """Print and return the code of a repository that is about to run, or return None if it has none.

    Raises:
        ModelError: the code is in another repository, which the commit does not pin.
    """
    from huggingface_hub import snapshot_download

    repositories = sorted(_code_repositories(folder))
    commit = options.options.get("code_commit")
    folders, other = {f"{source.name}@{source.commit}": folder}, None
    if repositories:
        if len(repositories) > 1 or commit is None or not re.fullmatch(COMMIT, commit):
            raise ModelError(
                f"the code of {source.name} is in {', '.join(repositories)}, which its commit does not pin:"
                f" add {model_option(code_commit='COMMIT')}, 40 hex digits of that repository"
            )
        other = Pinned(repositories[0], commit)
        folders[f"{other.name}@{commit}"] = Path(
            snapshot_download(other.name, revision=commit, allow_patterns=["*.py", "*.json"])
        )
    files = [(name, path) for name, root in folders.items() for path in sorted(root.rglob("*.py"))]
    if not files:
        return None
    lines, hashes = [], []
    for name, path in files:
        content = path.read_bytes()
        hashes.append(hashlib.sha256(content).hexdigest())
        described = f"({len(content.splitlines())} lines, sha256 {hashes[-1][:12]})"
        lines.append(f"{path.relative_to(folders[name])} {described}")
    note = f"runs code of {', '.join(folders)}: {', '.join(lines)}"
    print_load_note(f"{option('trust_remote_code', True)} {note}, stored in {folder}")
    return TrustedCode(digest(*hashes), note, folder, other)


def print_load_note(note: str) -> None:
    """Print a note about a model that is about to be loaded, also for callers from Python."""
    print(f"note: {printable(note)}", file=sys.stderr, flush=True)


@contextmanager
def only_shown_code(code: TrustedCode) -> Iterator[None]:
    """Let transformers import only the code that was shown, at its commit."""
    from transformers import dynamic_module_utils as dynamic

    library = dynamic.get_cached_module_file

    def shown_file(location: str, file: str, **settings: Any) -> Any:
        if code.other is not None and str(location) == code.other.name:
            settings["revision"] = code.other.commit  # sentence-transformers passes code_revision to one module only
        elif not is_inside(Path(location), code.folder):
            raise ModelError(f"the model requests code of {location} ({file}), which was not shown: it is not run")
        return library(location, file, **settings)

    dynamic.get_cached_module_file = shown_file
    try:
        yield
    finally:
        dynamic.get_cached_module_file = library


def _code_repositories(folder: Path) -> set[str]:
    """Return the repositories before ``--`` in class names of the model's JSON files, at any depth."""
    values = [read_json(path, ModelError) for path in sorted(folder.rglob("*.json"))]
    repositories = set()
    for value in values:
        if isinstance(value, dict | list):
            values += value.values() if isinstance(value, dict) else value
        elif isinstance(value, str) and (match := CLASS_ELSEWHERE.fullmatch(value)):
            repositories.add(match[1])
    return repositories
