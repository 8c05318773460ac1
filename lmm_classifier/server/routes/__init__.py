"""What each address answers, one file per subject; read `classify.py` first."""
