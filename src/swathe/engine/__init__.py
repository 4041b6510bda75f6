"""Request -> plan -> work units -> documents. Knows no HTTP, no jobs and no Dask."""
