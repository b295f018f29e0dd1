"""Answers while driving: clouds of ROS labelled as they come, in a recording or on a robot."""
