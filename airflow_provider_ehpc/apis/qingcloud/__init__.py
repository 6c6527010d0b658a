"""QingCloud HPC: one API, its signature and its protocol."""
