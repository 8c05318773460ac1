"""Tests of what edits need of the storage."""
