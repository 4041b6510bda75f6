"""The HTTP service: the provider's contract over the job store. Imports neither V8 nor GDAL nor numba."""
