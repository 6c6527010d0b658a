"""Jobs as Slurm and PBS report them, for every API that passes on their reports."""
