"""What each address answers, one file per subject; read `inference/classify.py` first."""
