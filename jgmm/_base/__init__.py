"""What everything stands on, and knows no mixture: pytrees, checks of what comes from outside, statuses, loops.

    pytree      the one way a class becomes a JAX pytree
    types       what annotations call things from outside
    arrays      rows, weights and other arrays from outside, checked
    lengths     rows of values padded to one of few lengths
    units       those in which the squares of the rows are ordinary numbers
    options     counts, names and limits from outside, checked
    programs    compiled programs, with cheaper code for little work
    status      how a fit ends, as numbers with messages
    rows        passing over rows in chunks
    sample      a few rows that stand for all
    spread      rows onto devices, and over processes
    sweep       on which devices, and in what chunks
    lanes       a loop whose ``vmap`` does not wait for the slowest

Nothing here may ask what is fitted. A new check goes beside its like; one that needs a mixture, to `_mixture.validity`.
"""
