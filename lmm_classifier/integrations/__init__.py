"""The classifier inside other libraries: one room for each of them, imported only by those who use it."""
