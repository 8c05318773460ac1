"""Proposed new labels: groups of unlabeled images that no known label explains.

Start with `discover`, the public function; `propose` is its method, on vectors.
"""
