"""Many starts, one answer.

    race   short runs of all starts, of which the best go on
    fit    from a key and rows to the best mixture

A kind of start is a function of the signature of those in `jgmm.init`, and a line in its ``__all__``.
"""
