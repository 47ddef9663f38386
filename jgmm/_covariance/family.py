"""What a covariance family is."""

import jax
import jax.numpy as jnp


def check_array(name, x):
    """Raise unless ``x`` is an array."""
    # Lists, too, pass through a constructor that checks nothing, and to JAX each is many leaves.
    if not hasattr(x, "shape"):
        raise TypeError(f"{name} must be an array, got {type(x).__name__}. Use jnp.array(...).")


def check_covariance(cov, num_components, num_features):
    """Raise unless ``cov`` is a covariance of these components and features."""
    if isinstance(cov, type) or not hasattr(cov, "factor"):
        raise TypeError(f"The covariance must be a jgmm.Full, Tied, Diag or Spherical, got {type(cov).__name__}.")
    for name, values in vars(cov).items():
        check_array(f"{type(cov).__name__}.{name}", values)
    wanted, got = cov.shape(num_components, num_features), [jnp.shape(x) for x in jax.tree.leaves(cov)]
    if got != [wanted]:
        raise ValueError(
            f"{type(cov).__name__} covariances of {num_components} components in {num_features} features "
            f"need shape {wanted}, got {', '.join(map(str, got))}."
        )
