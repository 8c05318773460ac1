"""Which images to label next, and when no label is needed any more.

Start with `suggest`, the public function; `label_order` is the order itself, which the pages of a review have too.
"""
