"""Arguments of the examples: read before anything slow is imported, and one line for a wrong one.

What a ``type`` raises is said beside the name of its argument. The cells of an example run in an editor too, which has
no arguments: then all are the defaults.
"""

import argparse
import math
import sys
from pathlib import Path


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message):
        """End the program with the message."""
        self.exit(2, f"{self.prog}: error: {' '.join(str(message).split())}\n")

    def parse(self):
        """The arguments of this run."""
        return self.parse_args([] if "ipykernel" in sys.modules else None)


def count(text):
    """A whole number, 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of 1 or more, got {text!r}")
    return int(text)


def positive(text):
    """A number above zero."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"expected a positive number, got {text!r}")
    return number


def png(text):
    """Where a picture is to go; its folder is made now, and not after the work."""
    path = Path(text)
    if path.suffix != ".png" or path.is_dir():
        raise argparse.ArgumentTypeError(f"expected the path of a file that ends in .png, got {text!r}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise argparse.ArgumentTypeError(f"its folder cannot be made: {error}") from None
    return path


def folder(text):
    """A folder that is there."""
    if not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {text}")
    return Path(text)


def file(text):
    """A file that is there."""
    if not Path(text).is_file():
        raise argparse.ArgumentTypeError(f"there is no file {text}")
    return Path(text)


def image(text):
    """A picture, read, in colour."""
    from PIL import Image  # of the examples two need it

    try:
        return Image.open(file(text)).convert("RGB")
    except (OSError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"{text} is no picture that can be read: {error}") from None
