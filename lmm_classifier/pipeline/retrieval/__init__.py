"""What the examples say of an image: by one encoder, and by all of them together.

Start with `retriever`. `query_vectors` encodes an image by a later encoder only when it is asked for.
"""
