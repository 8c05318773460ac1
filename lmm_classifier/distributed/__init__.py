"""Building and classifying by many workers: listing, chunks, statistics, and the engines that run them.

Workers write files named by what they are made of. So an engine only has to run each task at least once.
"""
