"""Results of images that a person dropped, as cards."""
