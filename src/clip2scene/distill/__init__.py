"""What the student learns from the teacher: pseudo-labels on the points, batches, losses."""
