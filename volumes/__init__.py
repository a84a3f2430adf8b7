"""Volumes of clouds."""
