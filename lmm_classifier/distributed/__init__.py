"""Work on more images than one machine should encode or hold. Start with `build`: listing, chunks, engines, a table.

`capacity.plan` says whether that is needed, and what it takes.
"""
