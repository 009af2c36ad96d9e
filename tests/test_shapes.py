"""The tests run with shapes and types checked at every call, wherever a signature has arrays."""

import jaxtyping
import numpy as np
import pytest

from clipbench.metrics import similarity as arrays
from clipbench.metrics.ranking import recall_at_k


def test_a_wrong_shape_or_type_is_an_error() -> None:
    with pytest.raises(jaxtyping.TypeCheckError):
        arrays.unit(np.ones(3, np.float32))
    with pytest.raises(jaxtyping.TypeCheckError):
        recall_at_k(np.ones((2, 2)), 1)  # type: ignore[arg-type]
