"""Trees of mixtures, statistics and results in files: bit for bit, and nothing in a file is ever run.

    archive     a JSON header and arrays in one file: written whole or not at all, read with its sizes checked first
    tree        a tree as a JSON header and arrays, and back again
    store       `save` and `load`

A class that `_base.pytree.public` marks can be saved, and needs no line here. A change of what a file says that an
older version would misread is a new `archive.FORMAT`; a field with a default may be added without one.
"""
