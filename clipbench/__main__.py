"""The command: ``clipbench``, and ``python -m clipbench``, which is what torchrun starts."""

import signal

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # without a traceback of imports, until the command takes it

from clipbench.cli import main

if __name__ == "__main__":
    main()
