"""KITTI's family: SemanticKITTI, object detection, raw drives."""
