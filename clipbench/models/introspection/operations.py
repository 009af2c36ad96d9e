"""Counting what torch computes: floating-point operations, and the parameters that take part. Imports torch."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

ATTENTION = flop_registry[torch.ops.aten._scaled_dot_product_flash_attention]
OTHER_ATTENTION = (
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_fused_attention_overrideable",
    "_scaled_dot_product_attention_math_for_mps",
)
"""Kernels of attention that torch's register of operations lacks. The kernel of the CPU is used most here."""
FORMULAS = {
    **flop_registry,
    **{getattr(torch.ops.aten, name): ATTENTION for name in OTHER_ATTENTION if hasattr(torch.ops.aten, name)},
}
"""Operations by packet, each with the function from its arguments to floating-point operations, a multiply-add as
two.
"""
NAMESPACES = ("aten", "prim", "prims", "profiler")
"""Namespaces of torch's plain operations, and of marks for its profiler. Others, such as ``quantized``, hold weights
that are not parameters, and kernels that do a layer's work in one.
"""
PRODUCTS = re.compile(r"(^|_|b|add)(mm|mv|dot)($|_)|linear|attention|convolution|conv\d|lstm|gru|rnn|transformer|fft")
"""Names of operations that multiply: one without a formula makes the count too small."""
PLAIN = re.compile(r"upsample|backward")
"""Names among them of operations that do not."""
COMPOSITE = torch._C.DispatchKey.CompositeImplicitAutograd


class Operations(TorchDispatchMode):
    """The operations of a block: read ``flops``, ``n_parameters`` and ``unknown`` when it has ended."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops = 0
        self.unknown: str | None = None
        """Name of an operation without a formula. If there is one, the other two figures are too small."""
        self._parameters: dict[int, torch.nn.Parameter] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Return False: torch would import its compiler to keep it off this class, which takes seconds."""
        return False

    @property
    def n_parameters(self) -> int:
        """The number of parameters that were used."""
        return sum(parameter.numel() for parameter in self._parameters.values())

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        for leaf in tree_leaves((args, kwargs)):
            if isinstance(leaf, torch.nn.Parameter):
                self._parameters[id(leaf)] = leaf
        packet = func._overloadpacket
        # In inference mode an operation made of others comes whole. func.decompose would import sympy for some.
        if packet not in FORMULAS and torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), COMPOSITE):
            with self:
                return func._op_dk(COMPOSITE, *args, **kwargs)
        out = func(*args, **kwargs)
        if packet in FORMULAS:
            self.flops += int(FORMULAS[packet](*args, **kwargs, out_val=out))
        elif func.namespace not in NAMESPACES or (
            PRODUCTS.search(packet.__name__) and not PLAIN.search(packet.__name__)
        ):
            self.unknown = f"{func.namespace}.{packet.__name__}"
        return out


@contextmanager
def count_operations() -> Iterator[Operations]:
    """Count the operations of torch in the block, uncompiled, with attention not fused with its layer."""
    # What compiles is imported by those that compile; importing it takes seconds.
    uncompiled = torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()
    was_fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with uncompiled, Operations() as operations:
            yield operations
    finally:
        torch.backends.mha.set_fastpath_enabled(was_fused)
