"""A report on runs, as one page that can be sent on."""
