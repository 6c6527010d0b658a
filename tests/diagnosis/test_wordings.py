# SPDX-License-Identifier: Apache-2.0
"""The diagnosis of wordings: how programs of many kinds say the same, and lines that only look like it."""

from __future__ import annotations

import pytest

from airflow_provider_ehpc.apis.job import JobState, JobStatus
from airflow_provider_ehpc.diagnosis import Cause, diagnose

# The cause, and for each wording the exit code of the job that wrote it.
WORDINGS: dict[str, list[tuple[int, str]]] = {
    "out of memory": [
        (
            1,
            "2023-01-01 10:00:00,123 - distributed.nanny - WARNING - Worker exceeded 95% memory "
            "budget. Restarting\n"
            "Traceback (most recent call last):\n"
            '  File "x.py", line 3, in <module>\n'
            "    c.gather(f)\n"
            "MemoryError: Unable to allocate 7.45 GiB for an array with shape (1000000000,) and "
            "data type float64",
        ),
        (
            137,
            "slurmstepd: error: Detected 1 oom-kill event(s) in StepId=14604003.batch cgroup. Some "
            "of your processes may have been killed by the cgroup out-of-memory handler.",
        ),
        (
            1,
            "Error: cannot allocate vector of size 2.0 Gb\n"
            "Execution halted\n"
            "srun: error: c1: task 0: Exited with exit code 1",
        ),
        (1, "ERROR: LoadError: OutOfMemoryError()\nStacktrace:\n [1] Array"),
        (255, "mmap() failed: Cannot allocate memory"),
        (12, "./a.out: malloc: Cannot allocate memory"),
        (1, "galloc:  could not allocate memory."),
        (1, "Out of memory!"),
        (1, "ray.exceptions.OutOfMemoryError: Task was killed due to the node running low on memory."),
        (
            1,
            "java.lang.OutOfMemoryError: GC overhead limit exceeded\n"
            "\tat java.util.Arrays.copyOf(Arrays.java:1)",
        ),
        (1, "fatal: Out of memory, malloc failed (tried to allocate 104857600 bytes)"),
        (1, "0: ALLOCATE: 8589934592 bytes requested; not enough memory"),
        (
            1,
            "Operating system error: Cannot allocate memory\n"
            "Allocation would exceed memory limit\n"
            "\n"
            "Error termination. Backtrace:\n"
            "#0  0x7f",
        ),
        (1, "bash: xmalloc: cannot allocate 18446 bytes"),
        (
            137,
            "Jan  5 10:11:12 n1 kernel: Out of memory: Kill process 4321 (wrf.exe) score 901 or "
            "sacrifice child",
        ),
        (1, "thread 'main' panicked at 'memory allocation of 34359738368 bytes failed'"),
        (1, "MemoryError: std::bad_alloc: out_of_memory"),
        (
            1,
            "RuntimeError: [enforce fail at CPUAllocator.cpp:64] . DefaultCPUAllocator: can't "
            "allocate memory: you tried to allocate 1024 bytes.",
        ),
        (
            9,
            "srun: error: nid001277: tasks 1-3: Out Of Memory\n"
            "srun: Terminating StepId=440575.0\n"
            "slurmstepd: error: *** STEP 440575.0 ON nid001277 CANCELLED AT 2023-12-05T07:16:01 ***",
        ),
        (1, "polars.exceptions.ComputeError: cannot allocate memory"),
        (
            1,
            "Killed process 4321 (python), UID 1000, total-vm:1kB, anon-rss:1kB\n"
            "Out of memory: Killed process 4321 (python) total-vm:1kB",
        ),
        (1, "bash: fork: 无法分配内存"),
    ],
    "CUDA out of memory": [
        (
            1,
            "RuntimeError: CUDA out of memory. Tried to allocate 20.00 MiB (GPU 0; 31.75 GiB total "
            "capacity; 612.33 MiB already allocated; 14.75 MiB free; 622.00 MiB reserved in total "
            "by PyTorch)",
        ),
        (1, "RuntimeError: CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
        (
            1,
            "jaxlib.xla_extension.XlaRuntimeError: RESOURCE_EXHAUSTED: Out of memory while trying "
            "to allocate 17179869184 bytes.",
        ),
        (
            1,
            "tensorflow.python.framework.errors_impl.ResourceExhaustedError: Graph execution "
            "error:\n"
            "\n"
            "OOM when allocating tensor with shape[256,512] and type float on "
            "/job:localhost/replica:0/task:0/device:GPU:0 by allocator GPU_0_bfc [Op:Mul]",
        ),
        (
            1,
            "cupy.cuda.memory.OutOfMemoryError: Out of memory allocating 8,000,000,000 bytes "
            "(allocated so far: 0 bytes).",
        ),
        (1, "call to cuMemAlloc returned error 2 (CUDA_ERROR_OUT_OF_MEMORY): Out of memory"),
        (1, "GPUassert: out of memory main.cu 42"),
        (1, "torch.AcceleratorError: CUDA error: out of memory"),
        (1, "RuntimeError: HIP out of memory. Tried to allocate 2.00 GiB"),
        (
            134,
            "terminate called after throwing an instance of "
            "'thrust::THRUST_200_sm::system::detail::bad_alloc'\n"
            "  what():  std::bad_alloc: cudaErrorMemoryAllocation: out of memory\n"
            "Aborted (core dumped)",
        ),
        (1, "ERROR: Failed to allocate GPU memory"),
        (1, "OutOfMemoryError: CUDA out of memory. Tried to allocate 1 GiB."),
    ],
    "disk quota": [
        (1, "/usr/bin/cp: failed to close 'x': Disk quota exceeded"),
        (1, "IOError: [Errno 28] No space left on device"),
        (1, "gzip: stdout: No space left on device"),
        (
            1,
            "h5py: OSError: Can't write data (file write failed: time = Mon, errno = 28, error "
            "message = 'No space left on device')",
        ),
        (1, "forrtl: No space left on device\nforrtl: severe (38): error during write, unit 21"),
        (1, "bash: echo: write error: No space left on device"),
        (1, "sort: write failed: /tmp/sortXX: No space left on device"),
        (1, "printenv: write error: Disk quota exceeded"),
        (1, "cp: 写入 'x' 时出错: 设备上没有空间"),
    ],
    "license": [
        (1, "ERROR - ANSYS license not available."),
        (1, "Abaqus Error: License request for 5 tokens failed: unable to check out."),
        (
            1,
            "License Manager Error -15\n"
            "Unable to connect to the license server.\n"
            "Check that the network license manager has been started",
        ),
        (1, "gurobipy._exception.GurobiError: No Gurobi license found (user root, host n1, hostid 1)"),
        (1, "Failed to check out license for STAR-CCM+: ccmppower"),
        (1, "FLEXnet Licensing error:-97,121"),
        (1, "FATAL: unable to obtain a license from the server 27000@lic"),
        (1, "Fluent: Unexpected license problem; exiting."),
        (1, "No valid license found for feature 'NASTRAN'"),
        (1, "CPLEX Error  32201: ILM Error 16: CPLEX: no license found for this host"),
        (1, "The license has expired."),
        (1, "Error: could not check out a license for comsolbatch"),
    ],
    "wall time exceeded": [
        (
            143,
            "slurmstepd: error: *** JOB 10763635 ON c0662 CANCELLED AT 2026-10-02T14:02:37 DUE TO "
            "TIME LIMIT ***\n"
            "srun: Job step aborted: Waiting up to 32 seconds for job step to finish.\n"
            "forrtl: error (78): process killed (SIGTERM)\n"
            "Image              PC",
        ),
        (1, "1: slurmstepd: error: *** STEP 9999.0 ON hpc CANCELLED DUE TO TIME LIMIT ***"),
        (
            271,
            "qsub: waiting\n"
            "=>> PBS: job killed: walltime 3650 exceeded limit 3600\n"
            "Terminated\n"
            "mpirun: Forwarding signal 15 to job",
        ),
    ],
    "node failure": [
        (
            1,
            "slurmstepd: error: *** STEP 5.0 ON n1 CANCELLED AT 2024-01-01T00:00:00 DUE TO NODE "
            "FAILURE, SEE SLURMCTLD LOG FOR DETAILS ***",
        ),
        (
            1,
            "srun: error: Node failure on nid00012\n"
            "srun: Job step aborted: Waiting up to 32 seconds for job step to finish.",
        ),
        (
            1,
            "Accelerator Fatal Error: call to cuCtxCreate returned error 214 "
            "(CUDA_ERROR_ECC_UNCORRECTABLE): uncorrectable ECC error encountered",
        ),
        (1, "NVRM: Xid (PCI:0000:86:00): 79, pid=1, GPU has fallen off the bus."),
    ],
    "command not found": [
        (127, "./run.sh: line 3: mpirun: command not found"),
        (127, "sh: 1: python: not found"),
        (127, "bash: gmx: command not found"),
        (127, "zsh:1: command not found: foo"),
        (127, "env: ‘python3’: No such file or directory"),
        (127, "/usr/bin/env: 'julia': No such file or directory"),
        (
            2,
            "srun: error: Unable to create step\n"
            "slurmstepd: error: execve(): gmx_mpi: No such file or directory\n"
            "srun: error: n1: task 0: Exited with exit code 2",
        ),
        (
            127,
            'docker: Error response from daemon: OCI runtime create failed: exec: "foo": '
            "executable file not found in $PATH: unknown.",
        ),
        (127, "bash: gmx_mpi: 未找到命令"),
    ],
    "not executable": [
        (126, "bash: ./run.sh: Permission denied"),
        (126, "./prog: cannot execute binary file"),
        (1, "standard_init_linux.go:228: exec user process caused: exec format error"),
        (126, "-bash: ./run.sh: 权限不够"),
    ],
    "module or library not found": [
        (
            127,
            "/opt/app/bin/vasp: error while loading shared libraries: libfftw3.so.3: cannot open "
            "shared object file: No such file or directory",
        ),
        (1, "ImportError: libcudart.so.11.0: cannot open shared object file: No such file or directory"),
        (
            1,
            "ModuleNotFoundError: No module named 'mpi4py'\n"
            "--------------------------------------------------------------------------\n"
            "mpirun detected that one or more processes exited with non-zero status, thus causing\n"
            "the job to be terminated. The first process to do so was:\n"
            "\n"
            "  Process name: [[1,1],0]\n"
            "  Exit code:    1",
        ),
    ],
    "killed": [
        (137, "Killed"),
        (137, "srun: error: c002: task 0: Killed\nsrun: Force Terminated StepId=120.0"),
        (1, "RuntimeError: DataLoader worker (pid 3245) is killed by signal: Killed."),
        (1, "mpirun noticed that process rank 2 with PID 0 on node aode exited on signal 9 (Killed)."),
        (137, "已杀死"),
    ],
    "program crashed": [
        (139, "Segmentation fault (core dumped)"),
        (139, "srun: error: n1: task 0: Segmentation fault (core dumped)"),
        (136, "Program received signal SIGFPE: Floating-point exception - erroneous arithmetic operation."),
        (174, "forrtl: severe (174): SIGSEGV, segmentation fault occurred"),
        (135, "Bus error (core dumped)"),
        (139, "run.sh: 行 3: 4711 段错误 (核心已转储) ./a.out"),
    ],
    "unknown": [
        (1, "KeyError: 'OUT_OF_MEMORY'"),
        (1, "INFO: memory limit is 4 GB, out of memory kills are off\nERROR: bad input"),
        (1, "AssertionError: expected MemoryError to be raised"),
        (1, "print('Killed')\nKeyError: 1"),
        (1, "Detected possible license issue: none\nValueError: x"),
        (1, "ValueError: license field is missing in package.json"),
        (1, "Epoch 1: CUDA out of memory, skipping batch 12\nEpoch 2 done\nRuntimeError: shape mismatch"),
        (1, "WARNING: ran out of memory in cell 5, used swap\nError: solver did not converge"),
        (1, "FileNotFoundError: [Errno 2] No such file or directory: 'data/train.csv'"),
        (1, "ls: cannot access 'x': No such file or directory"),
        (1, "bash: data/in.txt: No such file or directory"),
        (2, "python: can't open file 'train.py': [Errno 2] No such file or directory"),
        (1, "RuntimeError: CUDA error: device-side assert triggered"),
        (1, "RuntimeError: cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
        (1, "OSError: [Errno 116] Stale file handle"),
        (1, "OSError: [Errno 5] Input/output error"),
        (1, "subprocess.TimeoutExpired: Command 'x' timed out after 60 seconds"),
        (
            1,
            "[n1:1] An error occurred in MPI_Recv\n"
            "MPI_ERR_TRUNCATE: message truncated\n"
            "MPI_ERRORS_ARE_FATAL (processes in this communicator will now abort,",
        ),
        (1, "Convergence NOT achieved. stopping"),
        (15, "Terminated"),
        (143, "Terminated"),
        (
            1,
            "unsloth: will try to avoid 'CUDA out of memory'\n"
            "AttributeError: 'NoneType' object has no attribute 'x'",
        ),
        (1, "ORTE does not know how to route a message to the specified daemon"),
        (1, "There are not enough slots available in the system to satisfy the 64 slots"),
        (1, "Error: unable to open file (unable to lock file, errno = 11)"),
        (1, "botocore.exceptions.ClientError: An error occurred (QuotaExceeded)"),
        (1, "TimeLimit reached in solver: TIME LIMIT is 100 s\nno solution"),
        (1, "a previous run was CANCELLED DUE TO TIME LIMIT\nValueError: bad restart"),
        (1, "Job 5 was killed by PBS: walltime exceeded, says the mail of last week\nfailed"),
        (
            1,
            "slurmstepd: error: Detected 1 oom_kill event in StepId=61.0. Some of the step tasks "
            "have been OOM Killed.\n"
            "srun: error: n1: task 0: Out Of Memory\n"
            "step 0 ran out of memory, retrying with fewer ranks\n"
            "reading mesh\n"
            "ERROR: mesh has 3 negative volumes",
        ),
        (
            1,
            "slurmstepd: error: Detected 1 oom_kill event in StepId=61.0. Some of the step tasks "
            "have been OOM Killed.\n"
            "Traceback (most recent call last):\n"
            '  File "post.py", line 3, in <module>\n'
            "    plot(x)\n"
            "KeyError: 'x'",
        ),
        (1, "Resubmit if the log says: No space left on device\nFatal: negative density"),
        (1, "srun: error: n1: tasks 0-7: Exited with exit code 1"),
    ],
}
TABLE = [(code, text, Cause(cause)) for cause, wordings in WORDINGS.items() for code, text in wordings]


@pytest.mark.parametrize("reported", [True, False])
@pytest.mark.parametrize(("code", "text", "cause"), TABLE)
def test_the_cause_of_a_wording(code: int, text: str, cause: Cause, reported: bool) -> None:
    """Also without the exit code, which most APIs do not report."""
    status = JobStatus("7", JobState.FAILED, "FAILED", exit_code=code if reported else None)
    found = diagnose(status, text.splitlines())
    assert found.cause is cause, found
