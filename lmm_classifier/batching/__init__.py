"""Dynamic batching: many threads or coroutines classify through one encoder, with a bounded queue and deadlines.

Read `classifier_queue.py` first.
"""
