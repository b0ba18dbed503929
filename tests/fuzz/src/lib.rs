//! Feeds decoders with what nobody wrote: good input, changed at random. It knows no format.
//!
//! ```text
//!  a test ─► the same test once more, as a child ─► target by target: the seeds, then changed ones until its time is over
//!                                                   an input that comes to something new is changed further
//! ```
//!
//! The child has memory, stack and panics of its own: what takes too much of the first two, or ends the process, is seen,
//! and its input is shown. `VOUCHER_FUZZ_SECS` gives each target so many seconds, from other random numbers every time;
//! `VOUCHER_FUZZ_SEED` repeats a run; `VOUCHER_FUZZ_ONLY` names a part of the targets' names.

mod change;
mod watch;

use std::collections::{BTreeSet, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rand::SeedableRng as _;
use rand::rngs::StdRng;

use watch::Notes;

/// Time of a target's one share where no other time is asked for.
pub const SHARE: Duration = Duration::from_millis(450);

/// Most inputs from which further ones are made, the seeds not counted.
const MAX_POOL: usize = 2_000;

/// Address space that a child may take beside what it begins with, in bytes: whatever believes a length is seen.
const MAX_ADDRESS_BYTES: u64 = 3 << 30;

/// How much longer than planned a child may take before it counts as hanging.
const PATIENCE: Duration = Duration::from_secs(90);

/// How long a failing input is shortened.
const SHORTENING: Duration = Duration::from_secs(5);

/// Exit code of a child that has said what is wrong.
const FAILED: i32 = 101;

/// Names the file in which a child notes what it is at.
const CHILD: &str = "VOUCHER_FUZZ_CHILD";

/// Whether an input was taken, or why not: what came of it is told apart by the words.
pub type Said = Result<(), String>;

/// Gives an input to a decoder.
type Run = Box<dyn FnMut(&[u8]) -> Said>;

/// One decoder, and what must hold whatever it is given: panics are failures.
pub struct Target {
    name: &'static str,
    seeds: Vec<Vec<u8>>,
    refused: Vec<Vec<u8>>,
    words: Vec<Vec<u8>>,
    max_bytes: usize,
    slowest: Duration,
    peak_mib: u64,
    shares: u32,
    run: Run,
}

impl Target {
    /// A decoder with good inputs. Inputs grow up to 16 KiB, and may take a second of the processor and 64 MiB.
    pub fn new<S: AsRef<[u8]>>(
        name: &'static str,
        seeds: impl IntoIterator<Item = S>,
        run: impl FnMut(&[u8]) -> Said + 'static,
    ) -> Self {
        let seeds = seeds.into_iter().map(|seed| seed.as_ref().to_vec()).collect();
        let (max_bytes, slowest) = (16 * 1024, Duration::from_secs(1));
        let (refused, words) = (Vec::new(), Vec::new());
        Self { name, seeds, refused, words, max_bytes, slowest, peak_mib: 64, shares: 1, run: Box::new(run) }
    }

    /// A decoder of texts: bytes that are not UTF-8 are no input of it.
    pub fn text<S: AsRef<[u8]>>(
        name: &'static str,
        seeds: impl IntoIterator<Item = S>,
        mut run: impl FnMut(&str) -> Said + 'static,
    ) -> Self {
        Self::new(name, seeds, move |bytes| match std::str::from_utf8(bytes) {
            Ok(text) => run(text),
            // Most changes of a text with wide characters would be lost.
            Err(_) => run(&String::from_utf8_lossy(bytes)),
        })
    }

    /// Inputs to begin with that are not good.
    #[must_use]
    pub fn beside<S: AsRef<[u8]>>(mut self, refused: impl IntoIterator<Item = S>) -> Self {
        self.refused.extend(refused.into_iter().map(|seed| seed.as_ref().to_vec()));
        self
    }

    /// Words that its format is made of.
    #[must_use]
    pub fn words<S: AsRef<[u8]>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.words.extend(words.into_iter().map(|word| word.as_ref().to_vec()));
        self
    }

    /// Longest input, in bytes.
    #[must_use]
    pub const fn max_bytes(mut self, max_bytes: usize) -> Self {
        self.max_bytes = max_bytes;
        self
    }

    /// What one input may take: time of the processor, and memory in MiB.
    #[must_use]
    pub const fn may_take(mut self, slowest: Duration, peak_mib: u64) -> Self {
        (self.slowest, self.peak_mib) = (slowest, peak_mib);
        self
    }

    /// How many shares of the time are its own.
    #[must_use]
    pub const fn shares(mut self, shares: u32) -> Self {
        self.shares = shares;
        self
    }
}

/// Runs targets in a child of this test, which is `module_path!()` and the name of its function.
///
/// # Panics
///
/// If the child fails: with what it said, and the input that it was at.
pub fn run(module: &str, test: &str, targets: impl FnOnce() -> Vec<Target>) {
    if let Some(notes) = std::env::var_os(CHILD) {
        return child(targets(), Path::new(&notes));
    }
    let notes = tempfile::NamedTempFile::new().expect("a temporary file can be made");
    let path = module.split_once("::").map_or(test.to_owned(), |(_, inner)| format!("{inner}::{test}"));
    let program = std::env::current_exe().expect("a test knows its program");
    let mut child = Command::new(program)
        .args(["--exact", &path, "--nocapture", "--test-threads", "2"])
        .env(CHILD, notes.path())
        .stdin(Stdio::null())
        .spawn()
        .expect("a test can be started again");
    let began = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("the child is this test's own") {
            break status;
        }
        let (target, until, input) = watch::read(notes.path());
        if until.is_some_and(|until| began.elapsed() > until + PATIENCE) {
            let _ = child.kill();
            let _ = child.wait();
            panic!("{target} hangs on {}", shown(&input));
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    if status.code() == Some(FAILED) {
        panic!("what the child says above");
    }
    if !status.success() {
        let (target, _, input) = watch::read(notes.path());
        panic!("{target}: the child ended with {status}, at {}", shown(&input));
    }
}

fn child(targets: Vec<Target>, notes: &Path) {
    let mut notes = Notes::open(notes);
    watch::silence_panics();
    watch::limit_address_space(MAX_ADDRESS_BYTES);
    let only = std::env::var("VOUCHER_FUZZ_ONLY").unwrap_or_default();
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let secs = number("VOUCHER_FUZZ_SECS");
    let names: BTreeSet<&str> = targets.iter().map(|target| target.name).collect();
    assert_eq!(names.len(), targets.len(), "a target's name is its own");
    // The same numbers each time, unless there is time for other ones.
    let seed = number("VOUCHER_FUZZ_SEED").unwrap_or_else(|| if secs.is_some() { rand::random() } else { 1 });
    let (mut planned, mut failed) = (Duration::ZERO, false);
    for mut target in targets.into_iter().filter(|target| target.name.contains(&only)) {
        let time = secs.map_or(SHARE * target.shares, Duration::from_secs);
        planned += time;
        notes.begin(target.name, planned);
        match target.fuzz(time, seed, &mut notes) {
            Ok(came) => println!("{:<22} {came}", target.name),
            Err(why) => {
                failed = true;
                eprintln!("{:<22} FAILED (VOUCHER_FUZZ_SEED={seed}): {why}", target.name);
            }
        }
    }
    if failed {
        std::process::exit(FAILED);
    }
}

/// What came of a target's time.
struct Came {
    runs: u64,
    taken: u64,
    outcomes: usize,
    slowest: Duration,
    peak_kib: u64,
}

impl std::fmt::Display for Came {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { runs, taken, outcomes, slowest, peak_kib } = self;
        write!(
            f,
            "{runs:>8} inputs, {taken:>7} taken, {outcomes:>4} outcomes, {slowest:>9.1?} and {peak_kib} KiB at most"
        )
    }
}

impl Target {
    fn fuzz(&mut self, time: Duration, seed: u64, notes: &mut Notes) -> Result<Came, String> {
        let mut random = StdRng::seed_from_u64(seed);
        let mut pool: Vec<Vec<u8>> = self.seeds.iter().chain(&self.refused).cloned().collect();
        assert!(!self.seeds.is_empty(), "{}: without good inputs nothing deep is reached", self.name);
        let (first, began) = (pool.len(), Instant::now());
        let (mut outcomes, mut refused) = (HashSet::new(), Vec::new());
        let mut came = Came { runs: 0, taken: 0, outcomes: 0, slowest: Duration::ZERO, peak_kib: 0 };
        let resident = watch::forget_peak();
        for turn in 0.. {
            let input = match pool.get(turn).filter(|_| turn < first) {
                Some(seed) => seed.clone(),
                None if began.elapsed() > time || !refused.is_empty() => break,
                None => change::changed(&pool, &self.words, self.max_bytes, &mut random),
            };
            notes.input(&input);
            let before = watch::cpu_time();
            let said = catch_unwind(AssertUnwindSafe(|| (self.run)(&input)));
            let took = watch::cpu_time().saturating_sub(before);
            let Ok(said) = said else {
                let why = watch::last_panic();
                return Err(format!("{why}\nby {}", shown(&self.shorten(input, notes))));
            };
            if let (Err(why), true) = (&said, turn < self.seeds.len()) {
                refused.push(format!("the good input {turn} is refused: {why}\n{}", shown(&input)));
            }
            if took > self.slowest {
                return Err(format!("{took:?} of the processor for {}", shown(&input)));
            }
            came.runs += 1;
            came.taken += u64::from(said.is_ok());
            came.slowest = came.slowest.max(took);
            // Numbers and what is quoted are of the input; the words tell outcomes apart.
            let outcome = said.map_or_else(|why| why, |()| "taken".to_owned());
            let words = outcome.chars().take_while(|c| !"`'\"".contains(*c)).filter(|c| !c.is_ascii_digit());
            let outcome: String = words.take(60).collect();
            if pool.len() < first + MAX_POOL && outcomes.insert(outcome) && turn >= first {
                pool.push(input);
            }
        }
        came.outcomes = outcomes.len();
        came.peak_kib = watch::peak_kib().saturating_sub(resident);
        if came.peak_kib > self.peak_mib * 1024 {
            refused.push(format!("{} KiB of memory", came.peak_kib));
        }
        if refused.is_empty() { Ok(came) } else { Err(refused.join("\n")) }
    }

    /// Shortens an input that fails.
    fn shorten(&mut self, mut input: Vec<u8>, notes: &mut Notes) -> Vec<u8> {
        let began = Instant::now();
        let mut step = input.len().next_power_of_two() / 2;
        while step > 0 {
            let mut at = 0;
            while at < input.len() && began.elapsed() < SHORTENING {
                let mut shorter = input.clone();
                shorter.drain(at..input.len().min(at + step));
                notes.input(&shorter);
                match catch_unwind(AssertUnwindSafe(|| (self.run)(&shorter))) {
                    Err(_) => input = shorter,
                    Ok(_) => at += step,
                }
            }
            step /= 2;
        }
        input
    }
}

/// An input as a person copies it into a test.
fn shown(input: &[u8]) -> String {
    let cut = &input[..input.len().min(1_024)];
    let plain = |text: &&str| !text.chars().any(|c| c.is_control() && !c.is_whitespace());
    match std::str::from_utf8(cut).ok().filter(plain) {
        Some(text) => format!("{text:?} ({} bytes)", input.len()),
        None => format!("hex {} ({} bytes)", hex::encode(cut), input.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_under_a_format_is_found_by_its_outcomes() {
        // A decoder that tells at which byte it stops leads there.
        let mut reached = false;
        let secret = b"deep inside";
        let mut target = Target::new("ladder", [b"deep".as_slice()], move |input: &[u8]| {
            let same = input.iter().zip(secret).take_while(|(a, b)| a == b).count();
            assert!(same < secret.len(), "found");
            if same < 4 {
                Err("x".repeat(same))
            } else if same == 4 {
                Ok(())
            } else {
                Err("y".repeat(same))
            }
        })
        .max_bytes(16);
        let mut random = StdRng::seed_from_u64(1);
        let mut pool = target.seeds.clone();
        let mut outcomes = HashSet::new();
        for _ in 0..2_000_000 {
            let input = change::changed(&pool, &target.words, target.max_bytes, &mut random);
            match catch_unwind(AssertUnwindSafe(|| (target.run)(&input))) {
                Err(_) => {
                    reached = true;
                    break;
                }
                Ok(Err(why)) if outcomes.insert(why.clone()) => pool.push(input),
                Ok(_) => {}
            }
        }
        assert!(reached, "{} outcomes", outcomes.len());
    }

    #[test]
    fn changed_inputs_stay_within_their_length() {
        let mut random = StdRng::seed_from_u64(2);
        let pool = vec![vec![], b"12,34".to_vec(), vec![7; 50]];
        let mut lengths = BTreeSet::new();
        for _ in 0..20_000 {
            let input = change::changed(&pool, &[b"word".to_vec()], 64, &mut random);
            assert!(input.len() <= 64);
            lengths.insert(input.len());
        }
        assert!(lengths.len() > 60, "{lengths:?}");
    }
}
