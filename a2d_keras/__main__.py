"""`python -m a2d_keras` runs the command line, like `a2d-keras`."""

import sys

from a2d_keras.cli import main

if __name__ == "__main__":
    sys.exit(main())
