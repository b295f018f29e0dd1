"""Streets: their plan, the things in them, what they look like."""
