"""What answers about an image that a request brings; read `classify.py` first."""
