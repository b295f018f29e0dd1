"""A run's folder: what it holds, how it is made, opened and resumed."""
