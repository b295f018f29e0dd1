"""What tests do with a run's pseudo-labels."""

from clip2scene.runs.reopen import lift_run, reopen


def lift(run, data_root, *, split, labels=False, into=None):
    """Open a split for a run and lift it; ``labels`` may name the samples."""
    experiment = reopen(run, data_root, split=split, labels=labels)
    tokens = None if isinstance(labels, bool) else labels
    return lift_run(run, experiment, into=into, tokens=tokens)
