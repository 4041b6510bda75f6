"""Swathe: an open, self-hosted engine for Sentinel Hub's batch APIs, with its Python client."""

__version__ = "0.1.0"
