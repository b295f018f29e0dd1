"""Teach a 3D network to see in words, without 3D labels."""
