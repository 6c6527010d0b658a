"""What Slurm and PBS report of a job, whichever API passes it on."""
