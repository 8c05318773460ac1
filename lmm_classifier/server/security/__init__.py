"""Who may ask, how long a client may take, and what headers browsers get; read `access.py` first."""
