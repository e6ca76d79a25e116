//! The processes that are measured, and what `/proc` says of them.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

/// Jiffies a second in `/proc`, on every Linux (USER_HZ).
const TICKS: f64 = 100.0;

/// A child process that is killed when this is dropped.
pub struct Process {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Process {
    /// Starts a program that was built beside this one; its stderr goes to `log`.
    pub fn start(program: &Path, arguments: &[&str], log: &Path) -> anyhow::Result<Self> {
        let log = std::fs::File::create(log)?;
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .with_context(|| format!("{} does not start; `make bench` builds it", program.display()))?;
        let stdout = child.stdout.take().context("stdout is piped")?;
        Ok(Self { child, lines: BufReader::new(stdout) })
    }

    /// The next line that it prints.
    pub fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        if self.lines.read_line(&mut line)? == 0 {
            bail!("a process ended before it was ready");
        }
        Ok(line.trim().to_owned())
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end, and waits until it has.
    pub fn terminate(mut self) -> anyhow::Result<()> {
        let asked = Command::new("kill").arg(self.pid().to_string()).status()?;
        let ended = self.child.wait()?;
        if !asked.success() || !ended.success() {
            bail!("a process did not end well: {ended}");
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Already gone is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The folder that holds `callgate`, `examples/camera` and this program.
pub fn built() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe()?;
    Ok(own.parent().and_then(Path::parent).context("this program is in no folder")?.to_owned())
}

/// CPU time that a process has used, in seconds.
pub fn cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name, in parentheses, may hold anything; utime and stime are fields 14 and 15 (proc(5)).
    let fields: Vec<&str> = stat.rsplit_once(')').context("a name")?.1.split_whitespace().collect();
    let ticks = |field: usize| fields.get(field - 3).and_then(|text| text.parse::<f64>().ok()).context("a number");
    Ok((ticks(14)? + ticks(15)?) / TICKS)
}

/// Seconds that all cores together were busy.
fn busy_seconds() -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string("/proc/stat")?;
    let total = stat.lines().next().context("a line for all cores")?;
    let ticks: Vec<f64> = total.split_whitespace().skip(1).filter_map(|text| text.parse().ok()).collect();
    // All but idle and iowait; guest time is in user time already.
    Ok(ticks.iter().take(8).enumerate().filter(|(nth, _)| ![3, 4].contains(nth)).map(|(_, ticks)| ticks).sum::<f64>()
        / TICKS)
}

/// What a process uses.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// % of a core.
    pub cpu: f64,
    /// Resident, in MB.
    pub memory: f64,
    pub threads: usize,
    pub files: usize,
    /// % of a core that this program, the callers' side, used meanwhile.
    pub callers_cpu: f64,
    /// % of all cores that were busy meanwhile, with whatever.
    pub machine: f64,
}

/// Looks at a process for some time.
pub async fn usage(pid: u32, time: Duration) -> anyhow::Result<Usage> {
    let own = std::process::id();
    let began = Instant::now();
    let before = (cpu_seconds(pid)?, cpu_seconds(own)?, busy_seconds()?);
    tokio::time::sleep(time).await;
    let after = (cpu_seconds(pid)?, cpu_seconds(own)?, busy_seconds()?);
    let percent = |before: f64, after: f64| 100.0 * (after - before) / began.elapsed().as_secs_f64();
    let count = |what: &str| anyhow::Ok(std::fs::read_dir(format!("/proc/{pid}/{what}"))?.count());
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    let kibibytes: f64 = resident.trim().trim_end_matches(" kB").parse()?;
    Ok(Usage {
        cpu: percent(before.0, after.0),
        memory: kibibytes * 1024.0 / 1e6,
        threads: count("task")?,
        files: count("fd")?,
        callers_cpu: percent(before.1, after.1),
        machine: percent(before.2, after.2) / cores() as f64,
    })
}

pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The machine, in words.
pub fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map_or("?", |(_, m)| m);
    format!(
        "{} cores ({model}), Linux {}, {}",
        cores(),
        read("/proc/sys/kernel/osrelease").trim(),
        gst::version_string()
    )
}
