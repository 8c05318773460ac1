"""What a server computes about its index in threads of its own: the audit, a calibration, the map."""
