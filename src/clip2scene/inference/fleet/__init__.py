"""Labelling more samples than one process can: the same function in a pool of processes, or under Ray."""
