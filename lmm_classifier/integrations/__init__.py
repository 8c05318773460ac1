"""The classifier inside other libraries, and files for other programs, each imported only by those who use it."""
