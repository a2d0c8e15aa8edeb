//! What this process uses. Memory is known on Linux only; elsewhere nothing grows.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cpu_time::ThreadTime;

fn status(field: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    Some(line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// Resident bytes before something, to be compared with the most there were during it.
pub struct Memory(u64);

impl Memory {
    pub fn now() -> Memory {
        // Forgets the peak.
        let _ = fs::write("/proc/self/clear_refs", "5");
        Memory(status("VmRSS:").unwrap_or(0))
    }

    pub fn growth(&self) -> u64 {
        status("VmHWM:").unwrap_or(0).saturating_sub(self.0)
    }
}

/// Time of this thread, and time on the wall.
#[derive(Clone, Copy)]
pub struct Clock {
    cpu: ThreadTime,
    wall: Instant,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Spent {
    pub cpu: Duration,
    pub wall: Duration,
}

impl Clock {
    pub fn now() -> Clock {
        Clock { cpu: ThreadTime::now(), wall: Instant::now() }
    }

    pub fn spent(&self) -> Spent {
        Spent { cpu: self.cpu.elapsed(), wall: self.wall.elapsed() }
    }
}

/// A moment of a thread at which another one looks. Where the system does not tell of other threads, time is that on
/// the wall.
pub struct Begun {
    /// How long the thread has run, in nanoseconds, is the first number there.
    file: Option<PathBuf>,
    cpu: Duration,
    wall: Instant,
}

impl Begun {
    pub fn now() -> Begun {
        let file = fs::read_link("/proc/thread-self").ok().map(|task| Path::new("/proc").join(task).join("schedstat"));
        let mut begun = Begun { file, cpu: Duration::ZERO, wall: Instant::now() };
        begun.cpu = begun.cpu();
        begun
    }

    fn cpu(&self) -> Duration {
        let text = self.file.as_ref().and_then(|file| fs::read_to_string(file).ok()).unwrap_or_default();
        text.split(' ').next().and_then(|n| n.parse().ok()).map_or(self.wall.elapsed(), Duration::from_nanos)
    }

    pub fn spent(&self) -> Spent {
        Spent { cpu: self.cpu().saturating_sub(self.cpu), wall: self.wall.elapsed() }
    }
}

impl Spent {
    /// All but what had been spent at a moment; nothing when that never came.
    pub fn since(self, moment: Option<Spent>) -> Spent {
        let before = moment.unwrap_or(self);
        Spent { cpu: self.cpu.saturating_sub(before.cpu), wall: self.wall.saturating_sub(before.wall) }
    }

    /// How long, whatever else the machine does.
    pub fn least(self) -> Duration {
        self.cpu.min(self.wall)
    }
}
