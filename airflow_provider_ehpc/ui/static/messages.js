// SPDX-License-Identifier: Apache-2.0
// The texts of the page, and the formats of its numbers and durations.

const TEXTS = {
  en: {
    title: "HPC jobs",
    state: "State",
    dag: "DAG",
    search: "Search",
    searchHint: "job, name, run, task, cluster …",
    refresh: "Refresh every 10 s",
    language: "Language",
    previous: "Previous",
    next: "Next",
    range: (first, last) => `Tasks ${first}–${last}`,
    all: "all",
    ACTIVE: "not ended",
    job: "Job",
    task: "DAG and task",
    place: "Cluster",
    since: "In state",
    queued: "Queued",
    ran: "Run time",
    resources: "Resources",
    log: "Log",
    diagnosis: "Diagnosis",
    links: "Links",
    taskLink: "Task",
    console: "Console",
    jobs: (number) => `${number} jobs`,
    shown: (shown, total) => `${shown} of ${total} jobs are recorded, failed jobs first`,
    ago: (time) => `${time} ago`,
    details: "Details",
    changes: "States",
    reason: "Reason",
    exitCode: "Exit code",
    rawState: "The cloud reports",
    queue: "Queue",
    restarts: "Requeued",
    array: "Sub-jobs",
    lines: "Lines of the log",
    connection: "Connection",
    run: "Run",
    updated: "Recorded",
    taskState: "Task",
    outcome: "End of the wait",
    assumed: "The cloud reports no exit code; success is assumed.",
    submitted: "submitted",
    unseen: "not seen",
    nodes: (n) => `${n} ${n === "1" ? "node" : "nodes"}`,
    cores: (n) => `${n} ${n === "1" ? "core" : "cores"}`,
    gpus: (n) => `${n} ${n === "1" ? "GPU" : "GPUs"}`,
    memory: (n) => n,
    perNode: "per node",
    none: "No jobs. Tasks of this provider record their jobs here while they run.",
    noneFit: "No jobs match these filters.",
    noneHere: "This task has recorded no jobs yet.",
    continued: "The first 10,000 tasks were searched; the next page continues.",
    scope: (where) => `Jobs of ${where}`,
    showAll: "Show all jobs",
    loginAgain: "Your session has ended. Sign in to Airflow again.",
    forbidden: "You have no permission to read XComs, which contain the records of jobs. Ask an Airflow administrator for this permission.",
    failed: (why) => `The jobs could not be read (${why}). Retrying.`,
    units: [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]],
  },
  zh: {
    title: "HPC 作业",
    state: "状态",
    dag: "DAG",
    search: "搜索",
    searchHint: "作业、名称、运行、任务、集群……",
    refresh: "每 10 秒刷新",
    language: "语言",
    previous: "上一页",
    next: "下一页",
    range: (first, last) => `第 ${first}–${last} 个任务`,
    all: "全部",
    ACTIVE: "未结束",
    job: "作业",
    task: "DAG 与任务",
    place: "集群",
    since: "当前状态时长",
    queued: "排队时长",
    ran: "运行时长",
    resources: "资源",
    log: "日志",
    diagnosis: "诊断",
    links: "链接",
    taskLink: "任务",
    console: "控制台",
    jobs: (number) => `${number} 个作业`,
    shown: (shown, total) => `已记录 ${total} 个作业中的 ${shown} 个，失败的排在前面`,
    ago: (time) => `${time}前`,
    details: "详情",
    changes: "状态变化",
    reason: "原因",
    exitCode: "退出码",
    rawState: "云平台返回的状态",
    queue: "队列",
    restarts: "重新排队次数",
    array: "子作业",
    lines: "日志行数",
    connection: "连接",
    run: "运行",
    updated: "记录时间",
    taskState: "任务状态",
    outcome: "等待结果",
    assumed: "云平台未返回退出码，按成功处理。",
    submitted: "已提交",
    unseen: "未查询到",
    nodes: (n) => `${n} 节点`,
    cores: (n) => `${n} 核`,
    gpus: (n) => `${n} GPU`,
    memory: (n) => `${n} 内存`,
    perNode: "每节点",
    none: "暂无作业。本 Provider 的任务运行时，会把作业记录在这里。",
    noneFit: "没有符合筛选条件的作业。",
    noneHere: "此任务尚未记录作业。",
    continued: "已搜索前 10,000 个任务，下一页继续。",
    scope: (where) => `${where} 的作业`,
    showAll: "显示全部作业",
    loginAgain: "登录已失效，请重新登录 Airflow。",
    forbidden: "您没有读取 XCom 的权限（作业记录保存在 XCom 中），请联系 Airflow 管理员。",
    failed: (why) => `读取作业失败（${why}），正在重试。`,
    units: [["天", 86400], ["小时", 3600], ["分钟", 60], ["秒", 1]],
    states: {
      PENDING: "等待中",
      QUEUED: "排队中",
      RUNNING: "运行中",
      SUSPENDED: "已挂起",
      CANCELLING: "取消中",
      SUCCEEDED: "成功",
      FAILED: "失败",
      CANCELLED: "已取消",
      UNKNOWN: "未知",
    },
    causes: {
      "out of memory": "内存不足",
      "wall time exceeded": "超出运行时限",
      "node failure": "节点故障",
      preempted: "被抢占",
      "cancelled by a user": "被用户取消",
      "command not found": "找不到命令",
      "not executable": "文件不可执行",
      "module or library not found": "找不到模块或库",
      license: "许可证问题",
      "disk quota": "磁盘配额已满",
      "CUDA out of memory": "GPU 显存不足",
      "no capacity": "资源不足",
      "image not pulled": "镜像拉取失败",
      killed: "被强制终止",
      "program crashed": "程序崩溃",
      unknown: "原因不明",
    },
    outcomes: {
      reached: "已达到目标状态",
      failed: "作业失败",
      not_found: "找不到作业",
      timed_out: "等待超时",
      error: "无法查询",
      submitted: "仅提交，不等待",
      stop_requested: "仅请求停止，不等待",
    },
  },
};

const OUTCOMES = {
  reached: "a target state was reached",
  failed: "the job failed",
  not_found: "the job was not found",
  timed_out: "timed out",
  error: "the job could not be polled",
  submitted: "submitted; the task did not wait",
  stop_requested: "the stop was requested; the task did not wait",
};

// The language that the user chose here, else Airflow's, else the browser's.
export function language() {
  const stored = (key) => {
    try {
      return localStorage.getItem(key);
    } catch {
      return null;
    }
  };
  const wanted = stored("ehpc.language") ?? stored("i18nextLng") ?? navigator.language ?? "en";
  return wanted.toLowerCase().startsWith("zh") ? "zh" : "en";
}

export const t = (key, ...values) => {
  const text = TEXTS[language()][key];
  return typeof text === "function" ? text(...values) : text;
};
export const stateName = (state) => (state ? TEXTS[language()].states?.[state] ?? state : t("unseen"));
export const causeName = (cause) => TEXTS[language()].causes?.[cause] ?? cause;
export const outcomeName = (outcome) => (TEXTS[language()].outcomes ?? OUTCOMES)[outcome] ?? outcome;

// Format a duration with its two largest units.
export function duration(seconds) {
  let left = Math.max(0, Math.round(seconds));
  const parts = [];
  for (const [unit, size] of t("units")) {
    const number = Math.floor(left / size);
    left %= size;
    if (number || parts.length) {
      if (number) parts.push(`${number} ${unit}`);
      if (parts.length === 2 || !number) break;
    }
  }
  return parts.join(" ") || `0 ${t("units").at(-1)[0]}`;
}

export function bytes(number) {
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (number < 1024 || unit === "GiB") return `${unit === "B" ? number : number.toFixed(1)} ${unit}`;
    number /= 1024;
  }
}

export const when = (time) => new Date(time).toLocaleString(language() === "zh" ? "zh-CN" : "en-GB");
