"""What work will cost, said before it is done: a short measurement, and what follows from it."""
