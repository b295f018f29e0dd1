"""The embedded world: procedural streets, ray-cast cameras and lidar, exact ground truth."""
