# SPDX-License-Identifier: Apache-2.0
"""The diagnosis of real failing logs: what each program and scheduler prints, and what must not mislead."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from airflow_provider_ehpc.apis.job import JobState, JobStatus
from airflow_provider_ehpc.diagnosis import Cause, diagnose

LOGS = Path(__file__).parent / "logs"
OOM, CUDA, UNKNOWN = Cause.OUT_OF_MEMORY, Cause.CUDA_OUT_OF_MEMORY, Cause.UNKNOWN


def ended(**fields: Any) -> JobStatus:
    return JobStatus(**{"job_id": "7", "state": JobState.FAILED, "raw_state": "FAILED", **fields})


# Each log with the exit code of its job. Every one must give the same without the exit code, which most APIs
# do not report.
CASES: dict[Cause, dict[str, int]] = {
    OOM: {
        "slurm_oom_kill_new": 1,
        "slurm_oom_kill_old": 137,
        "slurm_job_memory_limit": 137,
        "slurm_step_memory_limit": 137,
        "pbs_mem": 271,
        "pbs_vmem_after_dots": 271,
        "pbs_mem_job_total": 271,
        "kernel_oom": 137,
        "python_memoryerror": 1,
        "numpy_array_memoryerror": 1,
        "cpp_bad_alloc": 134,
        "java_heap": 1,
        "java_native": 1,
        "errno_12": 1,
        "bash_fork": 254,
        "pytorch_cpu_alloc": 1,
        "r_vector": 1,
        "node_heap": 134,
        "rust_alloc": 134,
        "fortran_virtual_memory": 41,
        "mpi_oom_rank": 134,
        "matlab_oom": 1,
        "go_oom": 2,
        "lsf_memlimit": 137,
    },
    Cause.WALL_TIME_EXCEEDED: {
        "slurm_time_limit": 143,
        "slurm_time_limit_in_progress_bar": 143,
        "slurm_time_limit_step": 143,
        "slurm_time_limit_python": 1,
        "pbs_walltime": 271,
        "torque_walltime": 271,
        "lsf_runlimit": 140,
    },
    Cause.NODE_FAILURE: {
        "slurm_node_failure": 143,
        "srun_node_failure": 143,
        "pbs_sister": 271,
        "gpu_ecc": 1,
        "gpu_lost": 1,
    },
    Cause.PREEMPTED: {"slurm_preempted": 143},
    Cause.CANCELLED: {"slurm_scancel": 143},
    Cause.COMMAND_NOT_FOUND: {
        "bash_not_found": 127,
        "dash_not_found": 127,
        "srun_execve_not_found": 2,
        "hydra_not_found": 255,
        "mpirun_not_found": 134,
        "bad_interpreter": 126,
        "dos_line_ends": 127,
    },
    Cause.NOT_EXECUTABLE: {"permission_denied": 126, "exec_format": 126, "srun_permission": 13},
    Cause.MODULE_NOT_FOUND: {"shared_library": 127, "python_module": 1, "lmod_unknown": 1},
    Cause.LICENSE: {
        "flexlm_users": 1,
        "ansys_license": 1,
        "abaqus_license": 1,
        "matlab_license": 1,
        "license_server_down": 1,
    },
    Cause.DISK_QUOTA: {
        "python_quota": 1,
        "enospc_cp": 1,
        "enospc_tar": 2,
        "fortran_quota": 38,
        "enospc_chained": 1,
    },
    CUDA: {
        "torch_cuda_oom": 1,
        "torchrun_cuda_oom": 1,
        "cublas_alloc": 1,
        "tensorflow_oom": 1,
        "cuda_c": 1,
        "npu_oom": 1,
        "gromacs_gpu": 1,
    },
    Cause.KILLED: {"bash_killed": 137, "killed_alone": 137, "mpi_killed": 137},
    Cause.CRASHED: {"segfault": 139, "mpi_segfault": 139},
    UNKNOWN: {
        "nothing": 1,
        "silent": 3,
        "python_valueerror": 1,
        "missing_input": 1,
        "python_permission": 1,
        "nccl_timeout": 1,
        "nccl_error": 1,
        "no_cuda_device": 1,
        "mpi_abort": 1,
        "python_timeout": 1,
        "connection_reset": 1,
        "http_quota": 1,
        "cuda_illegal": 1,
        "fortran_eof": 24,
        "trap_recovered_cuda": 1,
        "trap_no_oom_errors": 1,
        "trap_printed_word": 1,
        "trap_info_level": 1,
        "trap_quoted_slurm": 1,
        "trap_advice": 1,
        "trap_caught_memoryerror": 1,
        "trap_shm": 1,
        "trap_inotify": 1,
        "trap_native_threads": 1,
        "trap_module_noise": 1,
        "trap_license_text": 1,
        "trap_license_plate": 1,
        "trap_source_line": 1,
        "trap_pytest_names": 1,
        "trap_earlier_disk": 1,
        "trap_echoed_command": 1,
        "trap_kill_on_bad_exit": 1,
        "trap_job_name": 1,
        "trap_many_lines_after": 1,
        "trap_comment_in_source": 1,
        "trap_quoted_pbs": 1,
    },
}
TABLE = [(name, code, cause) for cause, logs in CASES.items() for name, code in logs.items()]


def test_the_table_is_complete() -> None:
    names = [name for name, _, _ in TABLE]
    assert sorted(names) == sorted(file.stem for file in LOGS.glob("*.txt"))
    assert len(names) == len(set(names))
    assert set(CASES) >= set(Cause) - {Cause.NO_CAPACITY, Cause.IMAGE_NOT_PULLED}


@pytest.mark.parametrize("exit_code", ["reported", "unknown"])
@pytest.mark.parametrize(("name", "code", "cause"), TABLE)
def test_the_cause_of_a_failing_log(name: str, code: int, cause: Cause, exit_code: str) -> None:
    lines = (LOGS / f"{name}.txt").read_text().splitlines()
    found = diagnose(ended(exit_code=code if exit_code == "reported" else None), lines)
    assert (found.cause, bool(found.evidence)) == (cause, cause is not UNKNOWN), found
