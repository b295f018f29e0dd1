"""Several data sets as one: which they are, how often each is drawn, and what their classes are together."""
