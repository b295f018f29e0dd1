"""Whether a data set is fit to learn from: files, times, calibration."""
