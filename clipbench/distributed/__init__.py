"""Several processes for one command: how they start and find each other, share work, and end together.

``process_rank`` says which of them this one is, ``launch`` starts them, ``rounds`` shares the work of
``clipbench run``, and ``group`` is torch's process group, in which ``clipbench train`` shares its batches.
design/devices.md has the reasons.
"""
