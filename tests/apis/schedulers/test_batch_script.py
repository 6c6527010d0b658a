# SPDX-License-Identifier: Apache-2.0
"""The lines of batch scripts."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_ehpc.apis.call import InvalidArgument
from airflow_provider_ehpc.apis.schedulers.batch_script import script_fields


@pytest.mark.parametrize(
    ("lines", "fields"),
    [
        ("#SBATCH -N 2 --ntasks-per-node=4 -c 2", {"nodes": 2, "cores": 8}),
        ("#SBATCH --nodes=2\n#SBATCH --ntasks=8", {"nodes": 2, "cores": 4}),
        ("#SBATCH -n4", {"cores": 4}),
        ("#SBATCH --job-name=train -p gpu", {"job_name": "train", "queue": "gpu"}),
        ("#SBATCH --mem=8G", {"memory": "8G"}),
        ("#SBATCH --mem=800", {"memory": "800M"}),
        ("#SBATCH --time=90", {"wall_time": 5400}),
        ("#SBATCH --time=1:30", {"wall_time": 90}),
        ("#SBATCH -t 01:00:30", {"wall_time": 3630}),
        ("#SBATCH -t 1-2", {"wall_time": 26 * 3600}),
        ("#SBATCH -t 1-2:30", {"wall_time": 26 * 3600 + 1800}),
        ("#SBATCH -t 1-02:30:15", {"wall_time": 26 * 3600 + 1815}),
        ("#SBATCH --array=0-9", {"array": "0-9"}),
        ("#SBATCH --gres=gpu:a100:2", {"gpus": 2}),
        ("#SBATCH --gres=gpu", {"gpus": 1}),
        ("#SBATCH --gpus-per-node=4", {"gpus": 4}),
        ("#SBATCH -o /home/a/out.txt  # where", {"stdout_path": "/home/a/out.txt"}),
        ("#PBS -N train\n#PBS -q batch", {"job_name": "train", "queue": "batch"}),
        (
            "#PBS -l select=2:ncpus=4:ngpus=1:mem=8gb\n#PBS -l walltime=1:00:00",
            {"nodes": "2", "cores": "4", "gpus": "1", "memory": "8gb", "wall_time": 3600},
        ),
        ("#PBS -l nodes=2:ppn=4,walltime=90", {"nodes": "2", "cores": "4", "wall_time": 90}),
        ("#PBS -J 1-5:2", {"array": "1-5:2"}),
        ("#PBS -v A=1,B=x=y", {"environment": {"A": "1", "B": "x=y"}}),
        ("# SBATCH -N 2\n##SBATCH -N 3\n#comment", {}),
        ("\n\n#SBATCH -N 2\n\necho\n#SBATCH -N 3", {"nodes": 2}),
        ("", {}),
    ],
)
def test_lines_become_arguments(lines: str, fields: dict[str, Any]) -> None:
    assert script_fields(f"#!/bin/bash\n{lines}\necho\n") == fields


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("#SBATCH --account=me", "#SBATCH --account=me cannot be passed on"),
        ("#SBATCH -N two", "#SBATCH: argument -N"),
        ("#SBATCH -N 1-4", "#SBATCH: argument -N"),
        ("#SBATCH -n 5 -N 2", "5 tasks cannot be divided by 2 nodes"),
        ("#SBATCH --time=soon", "--time=soon is no time"),
        ("#SBATCH -o %j.out", "has a pattern"),
        ("#SBATCH --gres=license:x", "names no number of GPUs"),
        ("#PBS -j oe", "#PBS -j oe cannot be passed on"),
        ("#PBS -l place=scatter", "#PBS -l place=scatter cannot be passed on"),
        ("#PBS -l walltime=x", "walltime=x is no time"),
        ("#PBS -v HOME", "names a variable without a value"),
        ("#PBS -q a\n#SBATCH -p b", "both #SBATCH and #PBS"),
    ],
)
def test_what_cannot_be_passed_on_is_named(lines: str, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        script_fields(f"#!/bin/bash\n{lines}\necho\n")
