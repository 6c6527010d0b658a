"""Sensors: tasks that wait for jobs."""
