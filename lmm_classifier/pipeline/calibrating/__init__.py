"""What a calibration takes from elsewhere: the former calibration of the index, groups, and images that are not in it.

Start with `held_out`.
"""
