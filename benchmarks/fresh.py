"""Measurements that need a process of their own."""

import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parent.parent


def python(*words):
    """Run Python, and read the last number that it prints.

    Args:
        *words: Its command line.

    Returns:
        The number.
    """
    command = [sys.executable, *map(str, words)]
    run = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return float(run.stdout.split()[-1])
