"""The modality gap: gap, cones, and what carries the gap."""

from clipbench_tasks.modality_gap.task import ModalityGap

__all__ = ["ModalityGap"]
