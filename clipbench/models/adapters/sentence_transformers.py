"""Models of sentence-transformers: images and texts, or one of them for ``pair:``.

``import sentence_transformers`` in here means the library: imports are absolute.
"""

from typing import TYPE_CHECKING

from clipbench.errors import UsageError, did_you_mean
from clipbench.models.options import LoadOptions
from clipbench.models.trust.remote_code import pinned
from clipbench.plugins import optional

if TYPE_CHECKING:
    from clipbench.models.towers.sentence_transformers_model import SentenceModel

BACKENDS = ("torch", "onnx", "openvino")

OPTIONS = (
    *("backend", "file", "truncate_dim", "prompt", "prompt_name", "image_prompt", "image_prompt_name"),
    *("logit_scale", "logit_bias"),
)


def load(body: str, options: LoadOptions) -> "SentenceModel":
    """Return the model of a folder that ``SentenceTransformer.save`` wrote, or of a Hub repository, at a commit if
    ``@COMMIT`` follows. Code that comes with it is run only from a commit, and with ``options.trust_remote_code``.

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
    options.refuse_unknown((*OPTIONS, *(["code_commit"] if options.trust_remote_code else [])), reference)
    options.logits()
    backend = options.options.get("backend", "torch")
    if backend not in BACKENDS:
        raise UsageError(f"model option backend={backend}: {did_you_mean(backend, BACKENDS)}")
    if backend == "torch" and "file" in options.options:
        raise UsageError(f"model option file={options.options['file']} goes with backend=onnx or backend=openvino")
    if backend != "torch":
        options.refuse_precision(reference, f"whose {backend} file fixes it")
    source = pinned(body, reference, options)
    optional("sentence_transformers", extra="st", needed_by=reference)
    from clipbench.models.towers.sentence_transformers_model import build

    return build(source, reference, options)
