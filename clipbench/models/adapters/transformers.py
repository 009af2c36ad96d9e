"""Models of transformers: CLIP, SigLIP, SigLIP 2, and any other with get_image_features and get_text_features.

``import transformers`` in here means the library: imports are absolute.
"""

from typing import TYPE_CHECKING

from clipbench.models.options import LoadOptions
from clipbench.models.trust.remote_code import pinned

if TYPE_CHECKING:
    from clipbench.models.towers.torch_model import TorchModel


def load(body: str, options: LoadOptions) -> "TorchModel":
    """Return the model of a folder that ``save_pretrained`` wrote, or of a Hub repository ``ORG/NAME``, at a commit if
    ``@COMMIT`` follows. Options: ``context``; ``code_commit``, for trusted code that lies in another repository.

    Code that comes with a repository is run only from a commit, and with ``options.trust_remote_code``.

    Raises:
        UsageError: neither a folder nor a valid Hub name, or a context that the model cannot have.
        ModelError: not a dual encoder, incomplete, damaged, or in need of its own code.
        Unavailable: files that are not on this machine and cannot be fetched.
    """
    reference = f"hf:{body}"
    options.refuse_arch(reference)
    options.refuse_unknown(["context", *(["code_commit"] if options.trust_remote_code else [])], reference)
    source = pinned(body, reference, options)
    from clipbench.models.towers.transformers_model import build

    return build(source, reference, options)
