"""How far a fit of a stream is: a bar for each sweep if tqdm is installed and a line else, or a user's function."""

import sys
import time
from collections.abc import Callable
from functools import partial

Progress = bool | Callable[[dict], object]


class Reporter:
    """Tells of batches and sweeps as they are done.

    Args:
        wanted: ``True`` for stderr, ``False`` for silence, or a function of a dict for each sweep.
        most: the last sweep that there may be.
    """

    def __init__(self, wanted: Progress, most):
        if not isinstance(wanted, bool) and not callable(wanted):
            raise TypeError(f"progress must be True, False or a function of a dict, got {wanted!r}.")
        self.most, self.line = int(most), None
        self.tell = wanted if callable(wanted) else _print if wanted else None
        self.make_line = _tqdm() if wanted is True else None

    def begin(self, name: str, num_rows: int | None):
        """A pass begins, over so many rows if that is known."""
        self.rows, self.began = 0, time.monotonic()
        if self.make_line is not None:
            self.line = self.make_line(total=num_rows, desc=name)

    def batch(self, num_rows: int):
        """So many rows of the pass are done."""
        if self.line is not None:
            self.line.update(num_rows - self.rows)
        self.rows = num_rows

    def end(self, sweep: int, mean_log_prob):
        """The pass is over, and it was this sweep of EM."""
        if self.tell is None:
            return
        seconds = time.monotonic() - self.began
        done = {
            "sweep": sweep,
            "num_rows": self.rows,
            "seconds": seconds,
            "rows_per_second": self.rows / seconds if seconds else float("inf"),
            "mean_log_prob": float(mean_log_prob),
            "most_seconds_left": seconds * (self.most - sweep),
        }
        if self.line is None:
            self.tell(done)
        else:
            self.line.set_postfix_str(f"{done['mean_log_prob']:.6g} nats")
        self.close()

    def close(self):
        """The pass is over; there is no more to tell."""
        if self.line is not None:
            self.line.close()


def _tqdm():
    try:
        from tqdm import tqdm
    except ModuleNotFoundError:
        return None
    return partial(tqdm, file=sys.stderr, unit="row", unit_scale=True)


def _print(done):
    print(
        f"sweep {done['sweep']}: mean log-likelihood {done['mean_log_prob']:.6g} nats, {done['num_rows']} rows at "
        f"{done['rows_per_second']:.3g} a second, at most {done['most_seconds_left']:.3g} s left",
        file=sys.stderr,
        flush=True,
    )
