"""Few labels: what probes reach with some labelled images of each class, and how many labels the prompts are worth."""

from clipbench_tasks.few_shot.task import FewShot

__all__ = ["FewShot"]
