"""What can be asked of a mixture without learning anything.

    gmm          the parameters, and the density of a row under each component
    validity     whether a mixture is one, and whether rows belong to it
    queries      densities, responsibilities, samples, criteria
    algebra      marginals, conditionals, affine images, products: what is a mixture again
    divergence   how far two mixtures are from each other
    align        a mixture with its components in the order of another's
    coordinates  a mixture as free real numbers
    units        a mixture of features in other units
    frozen       the parts that stay as they are while the rest is fitted

A new question goes to `queries`, a new operation to `algebra`; each works for every family through its methods.
"""
