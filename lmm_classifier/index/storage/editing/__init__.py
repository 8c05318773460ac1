"""What an edit changes in the database, and the journal, the trash and the dismissals that go with it.

Read `change.py` first.
"""
