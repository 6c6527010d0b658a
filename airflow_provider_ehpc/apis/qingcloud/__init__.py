"""QingCloud HPC: jobs and operations, with their protocol and signature."""
