"""Runs and their review on a server: jobs in threads, new votes in the background, and what clients are told."""
