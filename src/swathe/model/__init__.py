"""What the contract says: requests, answers, time, coordinate systems and errors. Knows no I/O and no HTTP."""
