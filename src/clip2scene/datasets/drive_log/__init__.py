"""Own recordings: clouds, images and one calibration file."""
