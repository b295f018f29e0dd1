"""Whether a data set is fit to train on: files, times, calibration."""
