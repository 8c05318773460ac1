"""What an index remembers of the settings by which it was built, so that later commands need no configuration.

`kept` chooses what is stored, `remembered` reads it back.
"""
