"""Models of transformers: CLIP, SigLIP, SigLIP 2, and any other with get_image_features and get_text_features.

``import transformers`` in here means the library: imports are absolute.
"""

import re
from typing import TYPE_CHECKING

from clipbench.errors import UsageError
from clipbench.models.protocol import LoadOptions
from clipbench.reading import is_folder

if TYPE_CHECKING:
    from clipbench.models._torch_model import TorchModel
    from clipbench.models._transformers_model import ManyArraysModel


def load(body: str, options: LoadOptions) -> "TorchModel | ManyArraysModel":
    """Return the model of a folder that ``save_pretrained`` wrote, or of a Hub repository ``ORG/NAME``. Option: ``context``.

    Code that comes with a repository is never run.

    Raises:
        UsageError: neither a folder nor a valid Hub name, or a context that the model cannot have.
        ModelError: not a dual encoder, incomplete, damaged, or in need of its own code.
        Unavailable: files that are not on this machine and cannot be fetched.
    """
    reference = f"hf:{body}"
    options.refuse_arch(reference)
    options.refuse_unknown(["context"], reference)
    if not is_folder(body) and not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", body):
        raise UsageError(f"'{reference}' is no folder, nor a name on the Hub: expected hf:FOLDER or hf:ORG/REPO")
    from clipbench.models._transformers_model import build

    return build(body, options)
