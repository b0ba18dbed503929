//! What a child takes and does: memory, time of the processor, panics, and which input it is at.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};

/// Where the input's length stands in the notes; the target's name and time are before it, the input is behind.
const LENGTH_AT: u64 = 128;

static PANIC: Mutex<String> = Mutex::new(String::new());

/// A child's notes, for who looks after it has died.
pub(crate) struct Notes(File);

impl Notes {
    pub(crate) fn open(path: &Path) -> Self {
        Self(OpenOptions::new().write(true).open(path).expect("the parent made the file"))
    }

    /// Notes the target, and until when it should be done, counted from the start.
    pub(crate) fn begin(&mut self, target: &str, until: Duration) {
        let text = format!("{:<127}", format!("{} {target}", until.as_millis()));
        self.put(text.as_bytes(), 0);
    }

    pub(crate) fn input(&mut self, input: &[u8]) {
        self.put(&(input.len() as u64).to_le_bytes(), LENGTH_AT);
        self.put(input, LENGTH_AT + 8);
    }

    fn put(&mut self, bytes: &[u8], at: u64) {
        self.0.write_all_at(bytes, at).expect("a temporary file can be written");
    }
}

/// The target, until when it should be done, and its last input; as much of it as was noted.
pub(crate) fn read(path: &Path) -> (String, Option<Duration>, Vec<u8>) {
    let bytes = fs::read(path).unwrap_or_default();
    let head = String::from_utf8_lossy(bytes.get(..127).unwrap_or_default()).trim().to_owned();
    let (until, target) = head.split_once(' ').unwrap_or_default();
    let rest = bytes.get(LENGTH_AT as usize..).unwrap_or_default();
    let (length, input) = rest.split_first_chunk::<8>().unwrap_or((&[0; 8], &[]));
    let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or_default();
    (target.to_owned(), until.parse().ok().map(Duration::from_millis), input[..length.min(input.len())].to_vec())
}

/// Keeps what a panic says, and prints nothing: decoders of others are shielded, and a failure is told once.
pub(crate) fn silence_panics() {
    let usual = std::panic::take_hook();
    let of_test = std::thread::current().id();
    std::panic::set_hook(Box::new(move |panic| {
        if let Ok(mut last) = PANIC.lock() {
            *last = panic.to_string();
        }
        // A thread that a decoder started has nobody else who tells.
        if std::thread::current().id() != of_test {
            usual(panic);
        }
    }));
}

/// What the last panic said.
pub(crate) fn last_panic() -> String {
    PANIC.lock().map(|last| last.clone()).unwrap_or_default()
}

/// Lets the process take so many bytes of address space more than it has.
pub(crate) fn limit_address_space(more: u64) {
    let now = status("VmSize:") * 1024;
    let maximum = getrlimit(Resource::As).maximum;
    let limit = Rlimit { current: Some(now + more), maximum };
    setrlimit(Resource::As, limit).expect("a process may limit itself");
}

/// Begins to count the most memory anew; what is taken now, in KiB.
pub(crate) fn forget_peak() -> u64 {
    // Where the system does not let us, the peak so far stays, and less is seen.
    let _ = fs::write("/proc/self/clear_refs", "5");
    status("VmRSS:")
}

/// The most memory since then, in KiB.
pub(crate) fn peak_kib() -> u64 {
    status("VmHWM:")
}

fn status(name: &str) -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    line.split_whitespace().next().and_then(|kib| kib.parse().ok()).unwrap_or_default()
}

/// What this thread has had of the processor.
pub(crate) fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let (secs, nanos) =
        (u64::try_from(time.tv_sec).unwrap_or_default(), u32::try_from(time.tv_nsec).unwrap_or_default());
    Duration::new(secs, nanos)
}
