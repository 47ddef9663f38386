"""Many starts, one answer.

    inits    what ``init`` may be, and the batch of starts that it makes
    runner   where a start stands in a race, and its next step
    moves    what EM cannot do: the leader with a component of another start
    race     short runs of all starts, of which the best go on
    final    what the race left runs to convergence, and the best sound one wins
    fit      from a key and rows to the best mixture

A kind of start is a line in the table of `_starts.makers`, and a function in `jgmm.init`.
"""
