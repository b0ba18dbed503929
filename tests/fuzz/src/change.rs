//! How an input is changed: bits, bytes, numbers, words, pieces of another one.

use rand::RngExt as _;
use rand::rngs::StdRng;

/// Most changes of one input.
const MOST: usize = 6;

/// Bytes at which formats end, begin, or overflow.
const BYTES: &[u8] = b"\0\x01\x7f\x80\xff\n\r\t \"',.:;+-/=\\{}[]<>%_09azAZ";

/// Characters that are longer or other than they look.
const CHARS: &[&str] = &[
    "\u{0}", "\u{7f}", "\u{a0}", "é", "\u{301}", "\u{200b}", "\u{202e}", "\u{2028}", "\u{feff}", "０", "王", "𠀀", "Ａ",
];

/// Numbers at the edges of their types.
const NUMBERS: &[u64] = &[
    0,
    1,
    2,
    24,
    0x7f,
    0x80,
    0xff,
    0x100,
    0x7fff,
    0x8000,
    0xffff,
    0x1_0000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0000,
    253_402_300_799_999,
    i64::MAX as u64,
    1 << 63,
    u64::MAX,
];

/// One of the pool, changed a little; never longer than `max_bytes`.
pub(crate) fn changed(pool: &[Vec<u8>], words: &[Vec<u8>], max_bytes: usize, random: &mut StdRng) -> Vec<u8> {
    let mut input = pick(pool, random).cloned().unwrap_or_default();
    // Mostly few: each change more makes it less likely that anything is taken.
    let mut count = 1;
    while count < MOST && random.random_range(0..2) == 0 {
        count += 1;
    }
    for _ in 0..count {
        change(&mut input, pool, words, max_bytes, random);
        input.truncate(max_bytes);
    }
    input
}

fn pick<'a, T>(all: &'a [T], random: &mut StdRng) -> Option<&'a T> {
    if all.is_empty() { None } else { all.get(random.random_range(0..all.len())) }
}

/// A piece of an input: from where, until where; small ones more often.
fn piece(length: usize, random: &mut StdRng) -> std::ops::Range<usize> {
    let from = random.random_range(0..=length);
    let most = if random.random_range(0..4) == 0 { length - from } else { (length - from).min(16) };
    from..from + random.random_range(0..=most)
}

fn change(input: &mut Vec<u8>, pool: &[Vec<u8>], words: &[Vec<u8>], max_bytes: usize, random: &mut StdRng) {
    let at = random.random_range(0..=input.len());
    match random.random_range(0..14) {
        0 => input.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << random.random_range(0..8)),
        1 => {
            let byte = pick(BYTES, random).copied().unwrap_or_default();
            input.iter_mut().skip(at).take(1).for_each(|old| *old = byte);
        }
        2 => {
            let byte = pick(BYTES, random).copied().unwrap_or_default();
            input.insert(at, byte);
        }
        3 => {
            let noise: Vec<u8> = (0..random.random_range(1..9)).map(|_| random.random()).collect();
            input.splice(at..at, noise);
        }
        4 => drop(input.drain(piece(input.len(), random))),
        5 => input.truncate(at),
        6 => {
            let copy = input[piece(input.len(), random)].to_vec();
            input.splice(at..at, copy);
        }
        7 => {
            let other = pick(pool, random).map_or(&[][..], Vec::as_slice);
            let from = random.random_range(0..=other.len());
            input.truncate(at);
            input.extend_from_slice(&other[from..]);
        }
        8 => {
            let other = pick(pool, random).map_or(&[][..], Vec::as_slice);
            let new = other[piece(other.len(), random)].to_vec();
            let old = piece(input.len(), random);
            input.splice(old, new);
        }
        9 => {
            let word = pick(words, random).map_or_else(|| b"0".to_vec(), Clone::clone);
            let over = if random.random() { at..at } else { at..input.len().min(at + word.len()) };
            input.splice(over, word);
        }
        10 => {
            let text = pick(CHARS, random).copied().unwrap_or_default();
            input.splice(at..at, text.bytes());
        }
        11 => decimal(input, at, random),
        12 => {
            let number = pick(NUMBERS, random).copied().unwrap_or_default();
            let bytes = if random.random() { number.to_le_bytes() } else { number.to_be_bytes() };
            let width = [1, 2, 4, 8][random.random_range(0..4)];
            let bytes = if random.random() { &bytes[..width] } else { &bytes[8 - width..] };
            for (old, new) in input.iter_mut().skip(at).zip(bytes) {
                *old = *new;
            }
        }
        _ => {
            // One piece again and again: lists that never end, nests within nests.
            let copy = input[piece(input.len(), random)].to_vec();
            let length = (copy.len() << random.random_range(1..12)).min(max_bytes);
            let many: Vec<u8> = copy.iter().copied().cycle().take(length).collect();
            input.splice(at..at, many);
        }
    }
}

/// Puts another number in the place of the digits behind `at`.
fn decimal(input: &mut Vec<u8>, at: usize, random: &mut StdRng) {
    let Some(from) = input.iter().skip(at).position(u8::is_ascii_digit).map(|found| at + found) else { return };
    let until = input.iter().skip(from).position(|b| !b.is_ascii_digit()).map_or(input.len(), |found| from + found);
    let old = std::str::from_utf8(&input[from..until]).ok().and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    let new = match random.random_range(0..6) {
        0 => old.wrapping_add(1).to_string(),
        1 => old.wrapping_sub(1).to_string(),
        2 => format!("0{old}"),
        3 => format!("-{old}"),
        4 => format!("{old}e{}", random.random_range(0..400)),
        _ => pick(NUMBERS, random).copied().unwrap_or_default().to_string(),
    };
    input.splice(from..until, new.into_bytes());
}
