"""Rooms recorded with a depth camera: ScanNet, TUM, 7-Scenes."""
