"""``python -m clipbench`` is ``clipbench``: what torchrun starts as a module."""

from clipbench.cli import main

if __name__ == "__main__":
    main()
