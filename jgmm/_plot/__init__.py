"""Pictures of mixtures and fits, by matplotlib (the extra ``jgmm[plot]``); `jgmm.plot` has them for users.

    style        the colours and marker shapes of components, and the axes that are drawn on
    rows         rows as NumPy arrays, and what their features are called
    flat         a mixture seen in one or two of its features: densities, regions, grids
    components   rows by component, ellipses
    density      the density as curves or as contours
    pairs        every pair of features
    fits         how a fit went, how its starts ended, which model a criterion prefers
    uncertainty  where an assignment is in doubt

Every function draws on the axes that it is given and touches nothing else, and returns what it drew. Only where no
axes are given does it ask pyplot for the current ones. A component of weight zero is absent and is not drawn; the
others keep their number and with it their colour.
"""
