"""Scripts that people and machines run."""
