"""The HTTP server: classifies, teaches and shows an index to programs, with limits and deadlines.

Read `app.py` first, then `state.py`. Its libraries come with the extra `server`; only the command `serve` imports them.
"""
