"""Builds and answers beyond one machine. Start with `capacity.plan`, which says whether that is needed."""
