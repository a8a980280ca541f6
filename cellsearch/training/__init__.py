"""Trains candidates."""
