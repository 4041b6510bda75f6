"""Evalscript V3: what a script says about itself, and a safe place to run it."""
