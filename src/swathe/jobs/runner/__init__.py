"""Drives jobs: analysis in a child process, units on a Dask cluster. Only this package imports Dask."""
