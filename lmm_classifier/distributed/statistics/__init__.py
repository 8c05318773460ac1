"""Statistics of the rows of a table: sums by parts, made by workers and reduced in the order of their names."""
