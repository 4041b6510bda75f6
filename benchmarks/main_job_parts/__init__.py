"""What `benchmarks/main_job.py` is made of."""
