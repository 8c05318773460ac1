"""Label priors of new images, estimated without labels.

Start with `prior_estimate`.
"""
