# SPDX-License-Identifier: Apache-2.0
"""The patterns of the lines that name a cause, and of those around them.

Sources: slurmstepd and srun (slurmstepd/mgr.c and src/srun in Slurm), mom_main.c of OpenPBS, messages of
glibc (strerror), Linux (mm/oom_kill.c), bash and dash, CPython, PyTorch, TensorFlow, JAX, Open MPI, Hydra,
FlexNet, Ansys, Abaqus and MATLAB, as users report them.
"""

from __future__ import annotations

import functools
import re

from airflow_provider_ehpc.diagnosis.cause import Cause

_STEP = r"\*\*\* (?:JOB|STEP) \S+ (?:ON \S+ )?CANCELLED(?: AT \S+)? DUE TO "
_SCHEDULER = (
    (Cause.WALL_TIME_EXCEEDED, rf"error: {_STEP}TIME LIMIT \*\*\*$"),
    (Cause.PREEMPTED, rf"error: {_STEP}PREEMPTION \*\*\*$"),
    (Cause.NODE_FAILURE, rf"error: {_STEP}NODE FAILURE\b.* \*\*\*$"),
    (Cause.OUT_OF_MEMORY, r"slurmstepd\S*: error: Job \S+ exceeded (?:virtual )?memory limit\b"),
    (Cause.OUT_OF_MEMORY, r"slurmstepd\S*: error: Exceeded job memory limit$"),
    (Cause.CANCELLED, r"error: \*\*\* JOB \S+ (?:ON \S+ )?CANCELLED(?: AT \S+)? \*\*\*$"),
    (Cause.WALL_TIME_EXCEEDED, r"=>> PBS: job killed: walltime \d+ exceeded limit \d+"),
    (Cause.OUT_OF_MEMORY, r"=>> PBS: job killed: p?v?mem\b.* exceeded limit \d"),
    (Cause.NODE_FAILURE, r"=>> PBS: job killed: node \d+ .*(?:SISTER_EOF|requested job die)"),
    (Cause.NODE_FAILURE, r"^srun: error: Node failure on \S+"),
    (Cause.WALL_TIME_EXCEEDED, r"^TERM_RUNLIMIT: job killed"),
    (Cause.OUT_OF_MEMORY, r"^TERM_MEMLIMIT: job killed"),
)
"""Lines that a scheduler writes when it ends a job. A progress bar may stand before them in the line."""

_UNABLE = r"(?:can ?not|can't|could not|couldn't|unable to|failed to|fails? to)"
_PROGRAM = (
    (
        Cause.CUDA_OUT_OF_MEMORY,
        r"(?i:\b(?:CUDA|HIP|NPU|XPU|MPS|GPU)[^.;,]{0,60}?\bout of (?:device )?memory)",
        r"(?i:\bcu(?:da)?Mem(?:Alloc|cpy)?\w*\b[^;]{0,60}\bout of memory|cudaMalloc\w*\b[^;]{0,60}\bout of"
        r" memory)",
        r"\b(?:CUDA_ERROR_OUT_OF_MEMORY|cudaErrorMemoryAllocation|hipErrorOutOfMemory"
        r"|CU(?:BLAS|DNN|SPARSE|SOLVER|RAND)_STATUS_ALLOC(?:ATION)?_FAILED|CUFFT_ALLOC_FAILED)\b",
        r"\bOOM when allocating tensor\b.*\bdevice:GPU",
        rf"(?i:\b{_UNABLE} (?:re)?allocate\b[^.;]*\b(?:GPU|CUDA|device) memory)",
        r"\bcupy\.\S*OutOfMemoryError\b",
        r"\bRESOURCE_EXHAUSTED: Out of memory\b",
    ),
    (
        Cause.DISK_QUOTA,
        r"(?i:\b(?:disk|file ?system|block|inode) quota exceeded|\bno space left on device|\[Errno (?:28"
        r"|122)\])",
        r"\b(?:ENOSPC|EDQUOT)\b|\berrno = (?:28|122)\b|设备上没有空间|超出磁盘限额",
        r"(?i:\b(?:disk|device|file ?system)(?: \S+)? is full\b|not enough (?:free )?(?:disk )?space"
        r" (?:left )?on (?:the )?"
        r"(?:disk|device)|insufficient disk space)",
    ),
    (
        Cause.LICENSE,
        r"(?i:\bflex(?:lm|net)(?: licensing)? error\b|\blicensed number of (?:\w+ )?users already reached)",
        r"(?i:\blicen[cs]e (?:manager |server )?error\b)",
        r"(?i:\blicen[cs]e (?:\S+ ){0,3}?(?:check-?out|request|server|manager|check|acquisition)\b"
        r"(?: \S+){0,6}? (?:failed|denied|down|not respond\w*|unavailable|unreachable|timed out))",
        rf"(?i:\b{_UNABLE} (?:\S+ ){{0,4}}?(?:connect|check(?:ed)?[- ]?out|obtain|get|acquire|find|contact"
        rf"|reach|verify)\b"
        r"(?: \S+){0,5}? \S*licen[cs]es?\b(?! plate))",
        r"(?i:\bno (?:valid |available |free |suitable |\S+ )?licen[cs]es? (?:was |were |is |are )?"
        r"(?:found|available|left|for))",
        r"(?i:\blicen[cs]es? (?:\S+ ){0,2}?(?:has |have |is |are )?(?:expired|not available|unavailable"
        r"|invalid|not found"
        r"|denied)\b)",
        r"(?i:\b(?:insufficient|not enough) (?:\S+ ){0,4}?licen[cs]es?\b|\bmaximum number of users for \S+"
        r" reached)",
        r"(?i:\bunexpected licen[cs]e problem|does not exist in the licensing pool)",
    ),
    (
        Cause.OUT_OF_MEMORY,
        r"slurmstepd\S*: error: Detected \d+ oom[-_]kill event",
        r"slurmstepd\S*: error: (?:.* )?[Ee]xceeded (?:job |step |virtual )*memory limit",
        r"^srun: error: \S+: tasks? [\d,-]+: Out Of Memory$",
        r"(?:^|: )(?:[\w.]+\.)?_?(?:Array)?MemoryError(?::|$)",
        r"^terminate called after throwing an instance of .std::bad_alloc|\bstd::bad_alloc\b",
        r"\bjava\.lang\.OutOfMemoryError\b(?!: unable to create)|insufficient memory for the Java Runtime"
        r" Environment",
        rf"(?i:\b{_UNABLE} (?:re)?allocate (?:\S+ ){{0,6}}?(?:memory|bytes|vector of size|array|[KMGT]i?B"
        rf"|[KMGT]b)\b)",
        r"(?i:(?:^|: )(?:virtual )?(?:out of memory|memory exhausted)(?: error)?(?:[.!,]| \(|$))",
        r"(?i:\b(?:not enough|insufficient) (?:virtual )?memory\b)",
        r"(?i:\bheap out of memory\b|(?:panicked at .)?\bmemory allocation of \d+ bytes failed\b"
        r"|\bvirtual memory exhausted\b"
        r"|\bmemory allocation \(\w+\) failed)",
        r"\bOutOfMemoryError\b(?!: unable to create)|\berrno = 12\b|无法分配内存|内存不足",
        r"\bOOM when allocating tensor\b",
        # The kernel.
        r"\b(?:Out of memory|Memory cgroup out of memory): Kill(?:ed)? process \d+|\boom-kill:constraint="
        r"|\binvoked oom-killer\b",
        r"\bOOMKilled\b",
    ),
    (
        Cause.NODE_FAILURE,
        r"(?i:\buncorrectable (?:NVLink |ECC )?error|CUDA_ERROR_ECC_UNCORRECTABLE|\bfallen off the bus\b"
        r"|\bGPU is lost\b)",
    ),
    (
        Cause.MODULE_NOT_FOUND,
        r"(?:^|: )ModuleNotFoundError: |(?:^|: )ImportError: (?:No module named|\S+: cannot open shared"
        r" object)",
        r"error while loading shared libraries: ",
        r"(?i:the following modules?(?:\(s\))? (?:are|is) unknown|\bunable to locate a modulefile for)",
        r"^Error in (?:library|loadNamespace)\(.*there is no package called",
        r"^Can't locate \S+\.pm in @INC",
    ),
    (
        Cause.COMMAND_NOT_FOUND,
        r": command not found$|\bcommand not found: \S+$|: 未找到命令",
        r"^(?:/\S+/)?\w*sh: (?:line )?(?:\d+: )?\S+: (?:command )?not found$|: exec: \S+: not found$",
        r"^(?:/\S+/)?env: .+: No such file or directory$",
        r"\bexecve\(\): .+: No such file or directory$",
        r"executable file not found in \$PATH|: bad interpreter: No such file or directory$",
        r"\bexecvp error on file .+ \(No such file or directory\)",
        r"(?i:unable to find the specified executable file)|: cannot execute: required file not found$",
    ),
    (
        Cause.NOT_EXECUTABLE,
        r"\bcannot execute binary file\b|(?i:\bexec format error\b)",
        r"\bexecve\(\): .+: Permission denied$|\bexecvp error on file .+ \(Permission denied\)",
        r"\bexec: .+: permission denied\b",
        r"^-?(?:/\S+/)?\w*sh: (?:line )?(?:\d+: )?\S*/\S+: (?:Permission denied|权限不够)$",
    ),
    (
        Cause.KILLED,
        r"^(?:Killed|已杀死)$|\bline \d+:\s+\d+ 已杀死|\bline \d+:\s+\d+ Killed\b|: tasks? [\d,-]+: Killed$",
        r"(?i:\bsignal:? 9\b|\bsignal: killed\b)|\bSIGKILL\b|\bexitcode\s*: -9\b",
    ),
    (
        Cause.CRASHED,
        r"\bSegmentation fault\b|段错误|\bBus error\b|\bIllegal instruction\b|\bFloating point exception\b"
        r"|\bAborted\s+\(core dumped\)|\bSIG(?:SEGV|BUS|ILL|FPE|ABRT)\b|^Aborted$",
        r"(?i:\bsignal:? (?:11|7|4|8|6)\b)",
    ),
)
_UNLESS = {
    # Kinds of memory that memory= does not raise; /dev/shm is no disk, and inotify has the same errno.
    Cause.OUT_OF_MEMORY: r"(?i:shared memory|locked memory|native thread|\bshm|\bsem(?:get|_open))",
    Cause.DISK_QUOTA: r"(?i:/dev/shm|/torch_\d|shared memory|inotify|watch)",
}
WEAK = frozenset({Cause.KILLED, Cause.CRASHED})
"""Causes that may follow from another one: an allocation that failed aborts the program."""
SHELL_CODES = {Cause.COMMAND_NOT_FOUND: 127, Cause.NOT_EXECUTABLE: 126}
"""The shell's exit codes for these causes."""

_PREFIX = (
    r"(?:\s*(?:"
    r"\[?(?:rank ?)?\d+\]?: ?"  # [rank0]: of torchrun, 3: of srun --label
    r"|\[\d+,\d+\]<std(?:out|err)>:|<std(?:out|err)>:|std(?:out|err) \| ?"
    r"|\[\S+:\d+\](?: \*\*\*)? "  # [node1:4711] of Open MPI
    r"|\(\w+ pid=\d+[^)]*\)"
    r"|\[?\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d\S*\]?(?: [-|:](?= ))?"
    r"|\[?\d\d:\d\d:\d\d\S*\]?"
    r"|\[?(?:ERROR|FATAL|CRITICAL|SEVERE|[Ee]rror)\]?(?: ?[-:|])?(?= )"
    r"|\[\s*\d+\.\d+\]|kernel:"  # dmesg
    r"|[EF]\d{4} \S+ +\d+ \S+\]|>>> ?|#+|\*{3} "
    r"))*\s*"
)
_QUIET = (
    r"(?:^|[\s\[(|:-])(?:TRACE|DEBUG|INFO|NOTE|NOTICE|WARN|WARNING)(?:[\s\])|:-]|$)|^[IW]\d{4} "
    r"|\b\w*Warning: "
    r"|^(?:info|debug|note|hint|tip|warning)\b[: ]"
)
_HARMLESS = (
    r"\b(?:no|not|never|without|avoid\w*|prevent\w*|if|when|whenever|unless|in case|caught|catch\w*"
    r"|handl(?:es|ed|er|ing)"
    r"|ignor\w*|retr(?:y|ies|ied|ying)|recover\w*|check(?:s|ing)? (?:for|if|that|whether)|simulat\w*"
    r"|expect\w*|previous(?:ly)?"
    r"|earlier|last (?:run|time|job|week)|resolv\w*|fix(?:ed|es)?|would|might|could be|may|how to|about"
    r"|after"
    r"|(?:echo|grep|print(?:s|ed|ing|f)?)\b(?!:)|told|says?|said)\b"
)
"""Words before those of a cause, in a line that reports no error."""
_CONTINUED = (
    r"\b(?:retry(?:ing)?|retried|recover(?:ed|ing)|resum(?:ed|ing)|fall(?:ing|s)? ?back|fell back"
    r"|restart(?:ed|ing)|continuing"
    r"|succeeded|success|successfully|reduc(?:ed|ing)|skip(?:ped|ping)|passed)\b|\bok\b"
    r"|\b(?:epoch|step|iter(?:ation)?|batch)\W{0,3}\d|\bloss\W{1,3}\d|\d%\|"
)
_RECOVERS = r"\b(?:retry\w*|retried|fall(?:ing|s)? ?back|skip\w+|continuing|ignor\w+|reduc\w+|recover\w+)\b"
"""Words after those of a cause, in such a line."""
_FOLLOWS = (
    r"^srun: |slurmstepd\S*: |=>> PBS|^(?:mpirun|mpiexec|prterun|orterun)\b|^Primary job|^MPI_ABORT|^with"
    r" errorcode"
    r"|^=+$|^= |^-+$|YOUR APPLICATION TERMINATED|^This typically refers|^SystemExit|^(?:g?make|ninja)\b"
    r"|^Abaqus"
    r"|^Command (?:exited|terminated)|^Traceback|^terminate called|^what\(\)|torch\.distributed\.elastic"
    r"|^Sending process \d+|^Root Cause|^Failures?:|^(?:time|host|rank|exitcode|error_file|traceback) *: "
    r"|\b(?:exit(?:s|ed)?|return(?:s|ed)?)\b.{0,20}\d|(?i:\bexit (?:status|code))"
    r"|(?i:\b(?:job|script|step|tasks?|command|process(?:es)?|run|training|workers?|ranks?|program)(?:"
    r" \S+){0,3}? "
    r"(?:failed|aborted|terminated|died|exited|killed)\b)"
    r"|^Error in rule|^Error executing process|^CUDA kernel errors might|^For debugging consider|^Compile"
    r" with"
    r"|^Feature:|^License path:|^(?:Host|Server) ?name:|^Number of \w+ licenses|^\w+: Error is not"
    r" recoverable"
    r"|^An error report file|^This error was first reported|^did not launch|^\S+ FAILED$|\bexitcode\b"
    r"|error during write"
    r"|^Fatal error in \w+: Other MPI"
)
"""Lines that programs and schedulers write after any error."""
_EXCEPTION = (
    r"^(?!\S*(?:CalledProcess|Child(?:Failed|Process)|Workflow|SystemExit))"
    r"(?:[\w.]+\.)?[A-Z]\w*(?:Error|Exception|Interrupt|Iteration|Exit)\b(?::|$)"
)
_ERROR = (
    r"(?i:\b(?:error|severe|fatal|abort(?:ed|ing)?|panic|assert(?:ion)? .*failed|failed|failure|exception"
    r"|undefined|invalid"
    r"|can(?:not|'t| not)|could not|unable to|no such file)\b)"
)
_SHELL_LINE = r"\bnot found$|\bnot found: \S+$|未找到命令|sh: |: line \d+: "
"""A shell continues after such a line, a launcher of parallel programs does not."""
_SOURCE = r'File "[^"]+", line \d+'
CHAINED = (
    "During handling of the above exception, another exception occurred:",
    "The above exception was the direct cause of the following exception:",
)


class Patterns:
    """The patterns, compiled when the first log is read."""

    def __init__(self) -> None:
        self.scheduler = [(cause, re.compile(pattern)) for cause, pattern in _SCHEDULER]
        self.program = [(cause, re.compile("|".join(patterns))) for cause, *patterns in _PROGRAM]
        self.prefix = re.compile(_PREFIX)
        self.quiet = re.compile(_QUIET)
        self.harmless = re.compile(_HARMLESS, re.IGNORECASE)
        self.continued = re.compile(_CONTINUED, re.IGNORECASE)
        self.follows = re.compile(_FOLLOWS)
        self.unless = {cause: re.compile(pattern) for cause, pattern in _UNLESS.items()}
        self.recovers = re.compile(_RECOVERS, re.IGNORECASE)
        self.exception = re.compile(_EXCEPTION)
        self.error = re.compile(_ERROR)
        self.shell_line = re.compile(_SHELL_LINE)
        self.source = re.compile(_SOURCE)


patterns = functools.cache(Patterns)
"""Return the patterns, compiled when the first log is read."""
