"""Models of sentence-transformers: images and texts, or one of them for ``pair:``.

``import sentence_transformers`` in here means the library: imports are absolute.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from clipbench.errors import UsageError, did_you_mean
from clipbench.models._extras import optional
from clipbench.models.protocol import LoadOptions

if TYPE_CHECKING:
    from clipbench.models._sentence_transformers_model import SentenceModel

BACKENDS = ("torch", "onnx", "openvino")

OPTIONS = (
    *("backend", "file", "truncate_dim", "prompt", "prompt_name", "image_prompt", "image_prompt_name"),
    *("logit_scale", "logit_bias"),
)


def load(body: str, options: LoadOptions) -> "SentenceModel":
    """Return the model of a folder that ``SentenceTransformer.save`` wrote, or of a Hub repository.

    Options: ``backend`` (``torch``, ``onnx`` or ``openvino``) and ``file``, the exported file that it reads; ``truncate_dim``, of
    Matryoshka vectors; ``prompt`` or ``prompt_name`` for texts, ``image_prompt`` or ``image_prompt_name`` for images;
    ``logit_scale`` and ``logit_bias``.

    Raises:
        UsageError: neither a folder nor a valid Hub name, or an option that the model does not have.
        ModelError: the package is missing, the model cannot be loaded, needs its own code, or takes no images or no texts.
        Unavailable: files that are not on this machine and cannot be fetched.
    """
    reference = f"st:{body}"
    options.refuse_arch(reference)
    options.refuse_unknown(OPTIONS, reference)
    options.logits()
    backend = options.options.get("backend", "torch")
    if backend not in BACKENDS:
        raise UsageError(f"model option backend={backend}: {did_you_mean(backend, BACKENDS)}")
    if backend == "torch" and "file" in options.options:
        raise UsageError(f"model option file={options.options['file']} goes with backend=onnx or backend=openvino")
    if backend != "torch":
        options.refuse_precision(reference, f"whose {backend} file fixes it")
    if not Path(body).is_dir() and not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", body):
        raise UsageError(f"'{reference}' is no folder, nor a name on the Hub: expected st:FOLDER or st:ORG/REPO")
    optional("sentence_transformers", extra="st", needed_by=reference)
    from clipbench.models._sentence_transformers_model import build

    return build(body, options)
