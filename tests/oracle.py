"""EM written to be obviously right: plain NumPy loops in float64, one row and component at a time."""

import numpy as np


def log_normal(x, mean, cov):
    diff = x - mean
    _, log_det = np.linalg.slogdet(2 * np.pi * cov)
    return -0.5 * (diff @ np.linalg.solve(cov, diff) + log_det)


def log_joint(weights, means, covs, X):
    """log pi_k N(x_n | mu_k, Sigma_k) (n, k)."""
    return np.array(
        [[np.log(w) + log_normal(x, m, c) for w, m, c in zip(weights, means, covs, strict=True)] for x in X]
    )


def e_step(weights, means, covs, X):
    joint = log_joint(weights, means, covs, X)
    log_prob = np.logaddexp.reduce(joint, axis=1)
    return log_prob, np.exp(joint - log_prob[:, None])


def constrain(covs, weights, family):
    """The family's covariances (k, d, d) nearest in likelihood to the full ones."""
    d = covs.shape[-1]
    if family == "full":
        return covs
    if family == "tied":
        return np.broadcast_to(np.einsum("k,kij->ij", weights, covs), covs.shape)
    if family == "diag":
        return np.array([np.diag(np.diag(c)) for c in covs])
    return np.array([np.eye(d) * np.trace(c) / d for c in covs])


def m_step(resp, X, family, ridge=0.0):
    k, d = resp.shape[1], X.shape[1]
    means, covs = np.empty((k, d)), np.zeros((k, d, d))
    for j in range(k):
        means[j] = sum(r * x for r, x in zip(resp[:, j], X, strict=True)) / resp[:, j].sum()
        for r, x in zip(resp[:, j], X, strict=True):
            covs[j] += r * np.outer(x - means[j], x - means[j]) / resp[:, j].sum()
    weights = resp.sum(0) / resp.sum()
    return weights, means, constrain(covs, weights, family) + ridge * np.eye(d)


def em(weights, means, covs, X, family, steps, sample_weight=None, ridge=0.0):
    """Parameters after ``steps`` iterations, and the mean log-likelihood before each and after the last."""
    sample_weight = np.ones(len(X)) if sample_weight is None else np.asarray(sample_weight)
    history = []
    for _ in range(steps):
        log_prob, resp = e_step(weights, means, covs, X)
        history.append(np.average(log_prob, weights=sample_weight))
        weights, means, covs = m_step(resp * sample_weight[:, None], X, family, ridge)
    history.append(np.average(e_step(weights, means, covs, X)[0], weights=sample_weight))
    return weights, means, covs, np.array(history)
