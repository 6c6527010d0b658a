"""Measurements of this provider beside others, each in one run on one machine."""
