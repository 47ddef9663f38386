"""A sample of a stream in one pass, by priorities: few rows, whose weighted sums are those of all without bias.

    q_n = s_n / u_n,  u_n uniform in (0, 1];  the m rows of the largest q count max(s_n, tau), tau the next largest q

(Duffield, Lund & Thorup 2007, sec. 2.) Of equal weights that is a uniform sample without replacement; no row of a large
weight is left out.
"""

import numpy as np

from jgmm._stream.source import Stream


class _Reservoir:
    """The rows of the largest priorities so far, one more than asked for, in the order of the stream."""

    def __init__(self, size, like, random):
        self.size, self.random, self.bar = size, random, 0.0
        self.X, self.weight = np.empty((0, *like.shape[1:]), like.dtype), np.empty(0)
        self.priority = np.empty(0)

    def add(self, X, weight):
        """Rows (n, d) of positive weights (n,)."""
        priority = weight / (1 - self.random.random(len(weight)))
        enter = priority > self.bar  # most of a long stream do not
        self.X = np.concatenate([self.X, X[enter]])
        self.weight = np.concatenate([self.weight, weight[enter]])
        self.priority = np.concatenate([self.priority, priority[enter]])
        if len(self.priority) > self.size + 1:
            self._keep(np.sort(np.argpartition(-self.priority, self.size)[: self.size + 1]))
            self.bar = self.priority.min()

    def _keep(self, which):
        self.X, self.weight, self.priority = self.X[which], self.weight[which], self.priority[which]

    def result(self):
        """The rows, the weights that stand for all, and tau: the least of these, or zero if there are no more rows."""
        if len(self.priority) <= self.size:
            return self.X, self.weight, 0.0
        least = float(self.priority.min())
        self._keep(np.flatnonzero(self.priority > least))
        return self.X, np.maximum(self.weight, least), least


def sample_stream(stream: Stream, size: int, seed, reporter) -> tuple[np.ndarray, np.ndarray, float]:
    """Rows (m, d) of a stream, weights (m,) and tau: at most ``size`` rows, and all of them if they are no more.

    The same seed takes the same rows, whatever the split into batches.
    """
    reservoir = _Reservoir(size, stream.like, np.random.default_rng(seed))
    reporter.begin("sample", stream.num_rows)
    for num_rows, X, weight in stream.sweep("the pass for the sample"):
        weight = np.asarray(weight, np.float64)
        reservoir.add(np.asarray(X)[weight > 0], weight[weight > 0])
        reporter.batch(num_rows)
    reporter.close()
    return reservoir.result()
