"""The loss terms, and the objective that sums them."""
