"""Search, voting rules, the within-class metric and novelty: arrays in, arrays out, no file and no image.

Start with `gallery` (what is searched) and `voting` (how neighbors vote).
"""
