"""Several processes for one command: how they start and find each other, share work, and end together.

``place`` says which of them this one is and starts the others on this machine, ``rounds`` shares the work of
``clipbench run``, and ``group`` is torch's process group, in which ``clipbench train`` shares its batches.
design/devices.md has the reasons.
"""
