"""The stages of one image: prepared, encoded, voted on, reranked.

Read `prepared_image.py` first.
"""
