"""nuScenes, and the tables that it is made of."""
