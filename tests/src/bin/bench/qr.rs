//! What the node reads of bad pictures of QR codes: blurred, tilted, with glare, small, and a little of each.
//!
//! The pictures are made by a camera of numbers from a seed, so that everybody counts the same.

use std::io::Cursor;
use std::time::Instant;

use image::codecs::jpeg::JpegEncoder;
use image::{GrayImage, Luma, imageops};
use node::qr;

use crate::report::{Line, Times};

/// A camera's picture, in pixels, and its focal length.
const WIDE: u32 = 1280;
const HIGH: u32 = 960;
const FOCAL: f64 = 1_100.0;

/// Numbers from a seed.
struct Random(u64);

impl Random {
    /// From `low` to `high`.
    fn between(&mut self, low: f64, high: f64) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        low + (high - low) * ((self.0 >> 33) as f64 / f64::from(1_u32 << 31))
    }

    /// A token of so many characters, as random as a signature.
    fn token(&mut self, prefix: &str, characters: usize) -> String {
        let alphabet = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:";
        let mut text = prefix.to_owned();
        while text.len() < characters {
            text.push(char::from(alphabet[self.between(0.0, 44.99) as usize]));
        }
        text
    }
}

/// What is wrong with a picture.
struct Fault {
    /// Pixels to a module where the code faces the camera.
    pixels_per_module: f64,
    /// Degrees around the upright, the level and the line of sight.
    turn: [f64; 3],
    /// Standard deviation of the blur, in pixels.
    blur: f64,
    /// Strength of a lamp's reflection, and its radius in parts of the code's side.
    glare: Option<(f64, f64)>,
    noise: f64,
}

/// A case, from its easiest picture (0) to its hardest (1).
type Case = fn(f64, &mut Random) -> Fault;

/// The cases by their workloads.
const CASES: [(&str, Case); 5] = [
    ("qr_blur", |hard, random| Fault { blur: 0.8 + 2.2 * hard, pixels_per_module: 6.0, ..some(random) }),
    ("qr_tilt", |hard, random| {
        let (side, up, roll) = (random.between(-1.0, 1.0), random.between(-1.0, 1.0), random.between(-180.0, 180.0));
        let tilt = 20.0 + 45.0 * hard;
        Fault { turn: [tilt * side.signum(), tilt * 0.5 * up, roll], pixels_per_module: 7.0, ..some(random) }
    }),
    ("qr_glare", |hard, random| Fault { glare: Some((0.5 + 0.5 * hard, 0.10 + 0.25 * hard)), ..some(random) }),
    ("qr_small", |hard, random| Fault { pixels_per_module: 3.5 - 1.7 * hard, blur: 0.4, ..some(random) }),
    ("qr_mixed", |hard, random| {
        let turn = [25.0 * hard * random.between(-1.0, 1.0), 20.0 * hard, random.between(-30.0, 30.0)];
        let glare = Some((0.3 + 0.3 * hard, 0.15));
        Fault { turn, glare, blur: 0.6 + hard, pixels_per_module: 5.0 - hard, noise: 20.0 }
    }),
];

/// A picture as hands take it: nearly upright, in focus, a little noise.
fn some(random: &mut Random) -> Fault {
    let turn = [random.between(-8.0, 8.0), random.between(-8.0, 8.0), random.between(-12.0, 12.0)];
    Fault { pixels_per_module: 5.0, turn, blur: 0.6, glare: None, noise: 10.0 }
}

/// The modules of a code with their quiet zone: true is dark.
fn modules(text: &str) -> anyhow::Result<(usize, Vec<bool>)> {
    let drawn = image::load_from_memory(&qr::png(text, 1)?)?.into_luma8();
    Ok((drawn.width() as usize, drawn.pixels().map(|pixel| pixel.0[0] == 0).collect()))
}

fn turned([x, y, z]: [f64; 3], [around_y, around_x, around_z]: [f64; 3]) -> [f64; 3] {
    let spin = |a: f64, b: f64, degrees: f64| {
        let (sin, cos) = degrees.to_radians().sin_cos();
        (a * cos - b * sin, a * sin + b * cos)
    };
    let (x, y) = spin(x, y, around_z);
    let (y, z) = spin(y, z, around_x);
    let (z, x) = spin(z, x, around_y);
    [x, y, z]
}

fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// A JPEG of a code as a phone's camera takes it.
fn shot(text: &str, fault: &Fault, random: &mut Random) -> anyhow::Result<Vec<u8>> {
    let (side, dark) = modules(text)?;
    // A module is one long; so far away it has as many pixels as it should.
    let away = FOCAL / fault.pixels_per_module;
    let [u, v, n] = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]].map(|axis| turned(axis, fault.turn));
    let half = side as f64 / 2.0;
    let light = random.between(170.0, 245.0);
    let seen = |x: f64, y: f64| {
        let ray = [x - f64::from(WIDE) / 2.0, y - f64::from(HIGH) / 2.0, FOCAL];
        let reach = away * n[2] / dot(ray, n);
        let hit = [ray[0] * reach, ray[1] * reach, ray[2] * reach - away];
        let (across, down) = (dot(hit, u) + half, dot(hit, v) + half);
        let is_inside = reach > 0.0 && (0.0..side as f64).contains(&across) && (0.0..side as f64).contains(&down);
        match is_inside {
            false => 0.45 * light,
            true if dark[down as usize * side + across as usize] => 0.12 * light,
            true => light,
        }
    };
    let sharp = GrayImage::from_fn(WIDE, HIGH, |x, y| {
        let parts = [0.25, 0.75].map(|dx| [0.25, 0.75].map(|dy| seen(f64::from(x) + dx, f64::from(y) + dy)));
        Luma([(parts.as_flattened().iter().sum::<f64>() / 4.0) as u8])
    });
    let mut picture = imageops::blur(&sharp, fault.blur as f32);
    let reach = side as f64 * fault.pixels_per_module;
    let lamp = (random.between(-0.3, 0.3) * reach, random.between(-0.3, 0.3) * reach);
    for (x, y, pixel) in picture.enumerate_pixels_mut() {
        let mut value = f64::from(pixel.0[0]);
        if let Some((strength, radius)) = fault.glare {
            let from =
                (f64::from(x) - f64::from(WIDE) / 2.0 - lamp.0).hypot(f64::from(y) - f64::from(HIGH) / 2.0 - lamp.1);
            value += 400.0 * strength * (-(from / (radius * reach)).powi(2)).exp();
        }
        pixel.0[0] = (value + random.between(-fault.noise, fault.noise)).clamp(0.0, 255.0) as u8;
    }
    let mut jpeg = Cursor::new(Vec::new());
    JpegEncoder::new_with_quality(&mut jpeg, 80).encode_image(&picture)?;
    Ok(jpeg.into_inner())
}

/// The names of the workloads.
pub(crate) fn workloads() -> [&'static str; 5] {
    CASES.map(|(workload, _)| workload)
}

/// Which part of so many pictures of each case is read, with the longest tokens in turn, from easy to hard; p50 and p99 of a
/// picture, read or not.
pub(crate) fn reading(pictures: u32) -> anyhow::Result<Vec<Line>> {
    let mut random = Random(2_026);
    let mut lines = Vec::new();
    for (workload, case) in CASES {
        let (mut read, mut times) = (0, Times::default());
        for number in 0..pictures {
            let fault = case(f64::from(number) / f64::from(pictures - 1), &mut random);
            let (prefix, characters) = if number % 2 == 0 { ("VP1:", 262) } else { ("VQ1:", 311) };
            let text = random.token(prefix, characters);
            let jpeg = shot(&text, &fault, &mut random)?;
            let began = Instant::now();
            read += u32::from(qr::decode(&jpeg).is_ok_and(|texts| texts == [text]));
            times.since(began);
        }
        let (p50_ms, p99_ms) = times.percentiles();
        lines.push(Line {
            workload,
            unit: "% of pictures",
            value: f64::from(100 * read) / f64::from(pictures),
            p50_ms,
            p99_ms,
        });
    }
    Ok(lines)
}
