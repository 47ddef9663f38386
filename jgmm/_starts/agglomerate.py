"""Model-based agglomeration: groups joined two at a time, by what a joint Gaussian costs.

    criterion = sum over groups of  n log( |W / n| + (tr W + a) / n ),    a = tr(W of all rows) / (total * p)

n is a group's weight, W its scatter (p, p) about its mean. The pair whose joining raises the sum least is joined. The
first term is minus twice the log-likelihood of groups with a covariance each, but for constants; the second keeps
small groups, whose determinant is zero, defined and compact: what mclust's model "VVV" minimises for alpha = beta = 1.

    C. Fraley (1998), Algorithms for model-based Gaussian hierarchical clustering, SIAM J. Sci. Comput. 20, 270-281

NumPy on the host: the groups that are left become fewer with every step, which a compiled program's fixed shapes
cannot follow. A step costs a row of pairs, not all of them.
"""

import numpy as np

EPS = np.finfo(np.float64).eps
DIGITS = 10  # after the point of a cost: pairs that are equal but for rounding, of data on a grid, count as equal


class Groups:
    """The groups that are left, a place each: those in use come first.

    Args:
        rows: (m, p) where each group starts.
        weight: (m,) their weights, positive.
    """

    def __init__(self, rows, weight):
        m, p = rows.shape
        total = weight.sum()
        centered = rows - weight @ rows / total
        spread = (weight[:, None] * centered**2).sum()
        self.regular = max(spread / (total * p), EPS)
        self.weight = weight.copy()
        self.count = np.ones(m, int)  # of distinct rows: up to p of them have no volume
        self.mean = rows.copy()
        self.trace = np.zeros(m)
        self.term = weight * np.log(self.regular / weight)
        # Of many features the determinants are nothing beside the traces, and need no scatter.
        least = np.sort(weight)[: p + 1].sum()
        volumes = self._counts(spread, least)
        self.scatter = np.zeros((m, p, p)) if volumes else np.zeros((m, 0, 0))

    def _counts(self, trace, weight):
        """Whether |W / n|, which is at most (tr W / (n p))^p, can be seen beside (tr W + a) / n."""
        p = self.mean.shape[1]
        most = np.minimum(trace / (weight * p), 1) ** p  # above 1 the power could overflow, and it is seen
        return most > EPS * (trace + self.regular) / weight

    def joined(self, i, others):
        """The term and trace of group i joined with each of the ``others``, a slice."""
        weight = self.weight[i] + self.weight[others]
        part = self.weight[i] / weight * self.weight[others]
        diff = self.mean[others] - self.mean[i]
        trace = self.trace[i] + self.trace[others] + part * np.einsum("ij,ij->i", diff, diff)
        inner = (trace + self.regular) / weight
        solid = self.count[i] + self.count[others] > diff.shape[1]
        solid = np.flatnonzero(solid & self._counts(trace, weight)) if self.scatter.size else []
        if len(solid):
            diff = np.sqrt(part[solid, None]) * diff[solid]
            scatter = self.scatter[others][solid] + self.scatter[i]
            scatter += diff[:, :, None] * diff[:, None, :]
            scatter /= weight[solid, None, None]
            inner[solid] += np.maximum(np.linalg.det(scatter), 0)  # rounding can make it negative
        return weight * np.log(inner), trace

    def costs(self, i, others):
        """By how much the criterion rises when group i is joined with each of the ``others``, a slice."""
        costs = self.joined(i, others)[0] - (self.term[i] + self.term[others])
        return np.round(costs, DIGITS)

    def join(self, i, j, last):
        """Join group j to i; the group in place ``last`` moves to j's."""
        term, trace = self.joined(i, slice(j, j + 1))
        weight = self.weight[i] + self.weight[j]
        if self.scatter.size:
            diff = self.mean[j] - self.mean[i]
            across = self.weight[i] / weight * self.weight[j] * np.outer(diff, diff)
            self.scatter[i] += self.scatter[j] + across
        self.mean[i] += self.weight[j] / weight * (self.mean[j] - self.mean[i])
        self.term[i], self.trace[i], self.weight[i] = term[0], trace[0], weight
        self.count[i] += self.count[j]
        for values in (self.weight, self.count, self.mean, self.trace, self.term, self.scatter):
            values[j] = values[last]


class Pairs:
    """The cost of every pair of places j > i, row j for column i, and the cheapest of each row.

    A row that loses its cheapest keeps the cost as a lower bound, and is searched when the bound is the least of all
    (the generic algorithm of Muellner 2011): where one group grows and grows, nearly all rows lose theirs each step.

    Of equal costs the last counts, as in mclust: data on a grid, iris for one, have many.
    """

    def __init__(self, groups, m):
        self.cost = np.full((m, m), np.inf)
        self.cheapest = np.full(m, np.inf)  # the first row has none
        self.column = np.full(m, -1)
        self.is_bound = np.zeros(m, bool)
        for j in range(1, m):
            self.cost[j, :j] = groups.costs(j, slice(0, j))
            self._search(j)

    def _search(self, j):
        row = self.cost[j, :j]
        i = j - 1 - np.argmin(row[::-1])
        self.cheapest[j], self.column[j], self.is_bound[j] = row[i], i, False

    def best(self, size):
        """The cheapest pair i < j among the first ``size`` places, and its cost."""
        while True:
            j = size - 1 - np.argmin(self.cheapest[:size][::-1])
            if not self.is_bound[j]:
                return self.column[j], j, self.cheapest[j]
            self._search(j)

    def join(self, i, j, last, costs):
        """Follow `Groups.join`: ``costs`` (last,) are those of the joint group with all that are left."""
        if j < last:
            self.cost[j, :j] = self.cost[last, :j]
            self.cost[j + 1 : last, j] = self.cost[last, j + 1 : last]
        self.cost[i, :i] = costs[:i]
        self.cost[i + 1 : last, i] = costs[i + 1 :]
        self.is_bound[:last] |= (self.column[:last] == i) | (self.column[:last] == j)
        for place in {i, j} - {last}:
            self._offer(place, last)
        for place in {i, j} - {0, last}:
            self._search(place)

    def _offer(self, place, last):
        """Let the rows below a place that changed take it for their cheapest."""
        rows = slice(place + 1, last)
        cost, cheapest = self.cost[rows, place], self.cheapest[rows]
        column, is_bound = self.column[rows], self.is_bound[rows]
        better = (cost < cheapest) | ((cost == cheapest) & (place > column) & ~is_bound)
        cheapest[better] = cost[better]
        column[better] = place
        is_bound[better] = False


def agglomerate(rows, weight):
    """Join m groups of one distinct row each until one is left.

    Args:
        rows: (m, p) float64, distinct.
        weight: (m,) how many times each row is there.

    Returns:
        merges (m - 1, 2): the two groups joined at each step, each by the least number of those in it, which the
        joint group keeps (so the first is the smaller); and by how much each step raises the criterion (m - 1,), to
        `DIGITS`.
    """
    m = len(rows)
    if m == 1:  # which may have no feature left
        return np.empty((0, 2), int), np.empty(0)
    groups = Groups(rows, weight)
    pairs = Pairs(groups, m)
    head = np.arange(m)  # the least number of each place
    merges, rises = np.empty((m - 1, 2), int), np.empty(m - 1)
    for step, last in enumerate(range(m - 1, 0, -1)):
        i, j, rises[step] = pairs.best(last + 1)
        merges[step] = np.sort(head[[i, j]])
        head[i], head[j] = merges[step, 0], head[last]
        groups.join(i, j, last)
        pairs.join(i, j, last, groups.costs(i, slice(0, last)))
    return merges, rises


def cut(merges, k):
    """Which of k groups (m,) each of the m that were joined belongs to, numbered by their least members."""
    m = len(merges) + 1
    joined = merges[: m - k]
    parent = np.arange(m)
    parent[joined[:, 1]] = joined[:, 0]
    while (parent[parent] != parent).any():
        parent = parent[parent]
    return np.unique(parent, return_inverse=True)[1]
