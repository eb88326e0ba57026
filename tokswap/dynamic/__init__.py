"""Dynamic tokenization: a batch's most frequent neighbours become one token, with a row made on the fly (2411.18553).

merging     pairs of tokens that are merged, never over the borders of words
rows        rows of merged tokens from their pieces, with a cache
scoring     a decoder reading merged tokens: sequence reduction against bits per byte
encoding    an encoder reading merged tokens
"""
