"""What decoding takes: limits of its cost, separate processes, colors, values of many bits, small defects.

Start with `cost/check`, `decoder_pool` and `color`.
"""
