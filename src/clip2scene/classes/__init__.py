"""Class sets: their names, their numbers, and what one set's classes are in another."""
