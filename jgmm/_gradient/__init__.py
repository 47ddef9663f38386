"""What derivatives of the likelihood tell.

    ascent            `fit_gradient`: any optax optimiser in place of EM's steps
    newton            an optimiser for the last steps
    standard_errors   how well the data determine a fit

An optimiser needs nothing of this room: it is optax's.
"""
