"""Search, voting rules, the within-class metric and novelty: arrays in, arrays out, without files and images.

Start with `gallery` (the searched rows) and `voting` (how neighbors vote).
"""
