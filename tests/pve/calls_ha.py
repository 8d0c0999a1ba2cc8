"""Calls about high availability."""
