"""The statistics of the rows of a table: made by the workers that sort, added up once, kept with the version."""
