"""The small image-text model of the embedded world: its captions, its training, its scores."""
