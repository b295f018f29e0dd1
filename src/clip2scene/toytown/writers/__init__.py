"""The embedded world as data sets, in the layouts of public ones."""
