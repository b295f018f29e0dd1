"""The 3D networks that learn."""
