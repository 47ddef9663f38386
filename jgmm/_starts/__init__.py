"""Where EM starts, made of uniform random numbers.

    kmeans   seeds drawn far from each other, and Lloyd's iteration
    makers   the table of the kinds of start
    hierarchical  a tree of groups of rows, made on the host, off which labels for any number of components are read
    agglomerate   how the tree is made: groups joined two at a time, by what a joint Gaussian costs

`jgmm.init` has them for users, a function each; `fit` draws the numbers of all its starts at once. A kind of start is
a function of the signature of those in `makers`, and a line in its table.
"""
