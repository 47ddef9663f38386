"""Where EM starts, made of uniform random numbers.

    kmeans   seeds drawn far from each other, and Lloyd's iteration
    makers   the table of the kinds of start

`jgmm.init` has them for users, a function each; `fit` draws the numbers of all its starts at once. A kind of start is
a function of the signature of those in `makers`, and a line in its table.
"""
