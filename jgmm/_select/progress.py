"""How far a long loop is: a bar if tqdm is installed, else a line for each part, on stderr."""

import contextlib
import sys


@contextlib.contextmanager
def reporting(total: int, wanted: bool):
    """A function that takes what was just done, a short text; it does nothing if nothing is ``wanted``."""
    if not wanted:
        yield lambda text: None
        return
    try:
        from tqdm import tqdm
    except ModuleNotFoundError:
        yield _lines(total)
        return
    with tqdm(total=total, unit="fit", file=sys.stderr) as bar:

        def tell(text):
            bar.set_postfix_str(text, refresh=False)
            bar.update()

        yield tell


def _lines(total):
    done = 0

    def tell(text):
        nonlocal done
        done += 1
        print(f"{done} of {total}: {text}", file=sys.stderr, flush=True)

    return tell
