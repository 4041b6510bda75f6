"""How the job store's tables come to be what `swathe.jobs.schema` says, from any earlier version."""
