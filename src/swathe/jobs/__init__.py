"""Batch requests over time: their states, the durable store, the runner and the delivery of results."""
