"""Rows that come in batches: more than memory holds, or without an end.

    source       `batches`, and a stream of checked batches whose errors name the batch
    em           `em_stream`: exact EM, each sweep of which sums over the batches
    sample       a few rows that stand for all, in one pass
    fit          `fit_stream`: `fit` of a sample, then sweeps
    checkpoint   the state of a fit in a file, so that it can be killed and go on
    progress     how far it is, on stderr or to a function
    online       `online_step`: running statistics, for streams that never end

Nothing here knows a file format: a new kind of source is something that can be iterated again and again.
"""
