//! QR pictures: tokens drawn as SVG or PNG, and the texts in somebody's photo; it knows nothing of what the texts mean.
//!
//! A drawn code is alphanumeric, level M, with a quiet zone of four modules, nothing in its middle, and a whole number of
//! dots to a module.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use image::imageops::{self, FilterType};
use image::{GrayImage, ImageFormat, ImageReader, Limits, Luma};
use qrcode::bits::Bits;
use qrcode::{Color, EcLevel, QrCode, Version};
use rxing::common::{GlobalHistogramBinarizer, HybridBinarizer};
use rxing::qrcode::QRCodeReader;
use rxing::{BarcodeFormat, BinaryBitmap, DecodeHints, Luma8LuminanceSource, Reader as _};

/// Longest text drawn, in characters: version 10 at level M.
pub const MAX_TEXT_CHARS: usize = 311;

/// Largest version drawn.
pub const MAX_VERSION: i16 = 10;

/// Longest caption in characters; it stands on one line.
pub const MAX_CAPTION_CHARS: usize = 60;

/// Width of the quiet zone on each side, in modules (ISO/IEC 18004).
pub const QUIET_MODULES: u32 = 4;

/// Most dots to a module's side in a PNG.
pub const MAX_DOTS_PER_MODULE: u32 = 32;

/// Largest photo read, in bytes of its file.
pub const MAX_PHOTO_BYTES: usize = 8 * 1024 * 1024;

/// Widest and highest photo read, in pixels.
pub const MAX_PHOTO_PIXELS: u32 = 6000;

/// Most memory that reading a photo may take, in bytes.
pub const MAX_PHOTO_ALLOC_BYTES: u64 = 64 * 1024 * 1024;

/// Most codes read out of one photo.
pub const MAX_CODES: usize = 4;

/// How a photo is brought before the decoders for a try.
struct Try {
    /// Longest side in pixels; a smaller photo stays as it is.
    longest: u32,
    /// Whether a photo that has at most half of that is made twice as large.
    enlarge: bool,
    /// Standard deviation of the blur that takes the camera's noise away, in pixels; 0 for none.
    blur: f32,
}

/// The tries in order (docs/decisions/0027-qr-reading.md): what phones send, small codes, noisy ones, blurred ones, and small
/// blurred ones.
const TRIES: [Try; 5] = [
    Try { longest: 1200, enlarge: false, blur: 0.0 },
    Try { longest: 2400, enlarge: false, blur: 0.5 },
    Try { longest: 2400, enlarge: false, blur: 1.2 },
    Try { longest: 500, enlarge: false, blur: 0.0 },
    Try { longest: 2600, enlarge: true, blur: 1.2 },
];

/// No try begins so long after the first.
pub const TRY_FOR: Duration = Duration::from_secs(2);

/// Rows that may go through something like a corner of a code, of each third row: four codes that fill a picture have 500.
const MOST_CORNERS: usize = 2_000;

/// How much lighter than its neighbour a run of a row must be there, of 255: decoders see no edge in less.
const CLEAR: u64 = 24;

/// Dots to a module in an SVG's natural size.
pub const SVG_DOTS_PER_MODULE: u32 = 8;

/// Height of the caption's line under the quiet zone, in modules.
const CAPTION_MODULES: u32 = 4;

/// Why there is no picture, or no text in one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QrError {
    /// The text is empty, longer than [`MAX_TEXT_CHARS`], or has a character that alphanumeric mode does not.
    #[error("a QR text has 1 to {MAX_TEXT_CHARS} characters of 0-9, A-Z, space and $%*+-./:")]
    Text,
    /// The caption is longer than [`MAX_CAPTION_CHARS`] or has a control character.
    #[error("a caption is one line of at most {MAX_CAPTION_CHARS} characters")]
    Caption,
    /// Dots to a module outside 1 to [`MAX_DOTS_PER_MODULE`].
    #[error("a module has 1 to {MAX_DOTS_PER_MODULE} dots")]
    Dots,
    /// The file is larger than [`MAX_PHOTO_BYTES`].
    #[error("the picture has more than {MAX_PHOTO_BYTES} bytes")]
    TooManyBytes,
    /// The picture is wider, higher or takes more memory than allowed.
    #[error("the picture is larger than {MAX_PHOTO_PIXELS} pixels a side or {MAX_PHOTO_ALLOC_BYTES} bytes of memory")]
    TooManyPixels,
    /// Neither PNG nor JPEG nor WebP.
    #[error("not a PNG, JPEG or WebP picture")]
    Format,
    /// The picture is cut short or damaged.
    #[error("the picture cannot be read")]
    Damaged,
    /// There is no code that can be read.
    #[error("no QR code found: hold the camera still, closer, and without glare")]
    NoCode,
}

/// Draws a text as an SVG element without XML prolog, fit to stand inside a page.
///
/// The caption, plain text, stands on one line under the code; an empty one takes no room.
///
/// # Errors
///
/// [`QrError::Text`], [`QrError::Caption`].
pub fn svg(text: &str, caption: &str) -> Result<String, QrError> {
    if caption.chars().count() > MAX_CAPTION_CHARS || caption.chars().any(char::is_control) {
        return Err(QrError::Caption);
    }
    let (modules, dark) = modules(text)?;
    let side = modules + 2 * QUIET_MODULES;
    let height = side + if caption.is_empty() { 0 } else { CAPTION_MODULES };
    let mut path = String::new();
    for (x, y) in dark {
        // Writing into a String does not fail.
        let _ = write!(path, "M{} {}h1v1h-1z", x + QUIET_MODULES, y + QUIET_MODULES);
    }
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"{}\" viewBox=\"0 0 {side} {height}\" \
         shape-rendering=\"crispEdges\" role=\"img\"><rect width=\"{side}\" height=\"{height}\" fill=\"#fff\"/>\
         <path d=\"{path}\" fill=\"#000\"/>",
        side * SVG_DOTS_PER_MODULE,
        height * SVG_DOTS_PER_MODULE,
    );
    if !caption.is_empty() {
        // Wide characters take a whole em, so the longest caption stays within the width if each has its share of it.
        let share = f64::from(side) * 0.9 / caption.chars().count() as f64;
        let _ = write!(
            svg,
            "<text x=\"{}\" y=\"{}\" font-family=\"sans-serif\" font-size=\"{:.2}\" text-anchor=\"middle\">{}</text>",
            f64::from(side) / 2.0,
            height - CAPTION_MODULES / 2,
            share.min(2.0),
            escape(caption),
        );
    }
    svg.push_str("</svg>");
    Ok(svg)
}

/// Draws a text as a PNG in grey, without caption: the node has no font; the page sets the line under it.
///
/// # Errors
///
/// [`QrError::Text`], [`QrError::Dots`].
///
/// # Panics
///
/// Never: a picture in memory is always written.
pub fn png(text: &str, dots_per_module: u32) -> Result<Vec<u8>, QrError> {
    if !(1..=MAX_DOTS_PER_MODULE).contains(&dots_per_module) {
        return Err(QrError::Dots);
    }
    let mut bytes = Cursor::new(Vec::new());
    picture(text, dots_per_module)?.write_to(&mut bytes, ImageFormat::Png).expect("memory takes every picture");
    Ok(bytes.into_inner())
}

/// Reads the QR codes of a photo (PNG, JPEG or WebP): their texts, at most [`MAX_CODES`], each once.
///
/// Takes up to some seconds for a picture without a code, more for one that was made to look like many: call it off the
/// threads that answer requests, and few at a time. No try begins after [`TRY_FOR`].
///
/// # Errors
///
/// The [`QrError`] that says what to do better; [`QrError::NoCode`] rather than an empty list.
pub fn decode(bytes: &[u8]) -> Result<Vec<String>, QrError> {
    if bytes.len() > MAX_PHOTO_BYTES {
        return Err(QrError::TooManyBytes);
    }
    let photo = shielded(|| read_photo(bytes)).unwrap_or(Err(QrError::Damaged))?;
    let began = Instant::now();
    for one in &TRIES {
        if began.elapsed() > TRY_FOR {
            break;
        }
        let mut prepared = prepare(&photo, one);
        if looks_crowded(&prepared) {
            continue;
        }
        let mut texts: Vec<String> = Vec::new();
        while texts.len() < MAX_CODES && began.elapsed() <= TRY_FOR {
            let Some(found) = read_code(&prepared) else { break };
            paint_over(&mut prepared, &found);
            if !texts.contains(&found.text) {
                texts.push(found.text);
            }
        }
        if !texts.is_empty() {
            return Ok(texts);
        }
    }
    Err(QrError::NoCode)
}

/// Side of the code in modules, and the places of its dark modules.
fn modules(text: &str) -> Result<(u32, impl Iterator<Item = (u32, u32)>), QrError> {
    let alphanumeric = |byte: u8| matches!(byte, b'0'..=b'9' | b'A'..=b'Z') || b" $%*+-./:".contains(&byte);
    if text.is_empty() || text.len() > MAX_TEXT_CHARS || !text.bytes().all(alphanumeric) {
        return Err(QrError::Text);
    }
    let code = (1..=MAX_VERSION).find_map(|version| code(text, Version::Normal(version))).ok_or(QrError::Text)?;
    let side = code.width();
    let dark = code.into_colors().into_iter().enumerate().filter(|(_, color)| *color == Color::Dark);
    // Version 10 has 57 modules a side.
    let place = move |(index, _)| ((index % side) as u32, (index / side) as u32);
    Ok((side as u32, dark.map(place)))
}

/// The text in one alphanumeric segment, if this version holds it.
fn code(text: &str, version: Version) -> Option<QrCode> {
    let mut bits = Bits::new(version);
    bits.push_alphanumeric_data(text.as_bytes()).ok()?;
    bits.push_terminator(EcLevel::M).ok()?;
    QrCode::with_bits(bits, EcLevel::M).ok()
}

fn picture(text: &str, dots: u32) -> Result<GrayImage, QrError> {
    let (modules, dark) = modules(text)?;
    let side = (modules + 2 * QUIET_MODULES) * dots;
    let mut picture = GrayImage::from_pixel(side, side, Luma([255]));
    for (x, y) in dark {
        for (dx, dy) in (0..dots).flat_map(|dx| (0..dots).map(move |dy| (dx, dy))) {
            picture.put_pixel((x + QUIET_MODULES) * dots + dx, (y + QUIET_MODULES) * dots + dy, Luma([0]));
        }
    }
    Ok(picture)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

/// Runs a decoder that others wrote: a panic in it is an answer of `None`, since what it reads comes from outside.
fn shielded<T>(work: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).ok()
}

fn read_photo(bytes: &[u8]) -> Result<GrayImage, QrError> {
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|_| QrError::Format)?;
    if !matches!(reader.format(), Some(ImageFormat::Png | ImageFormat::Jpeg | ImageFormat::WebP)) {
        return Err(QrError::Format);
    }
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_PHOTO_PIXELS);
    limits.max_image_height = Some(MAX_PHOTO_PIXELS);
    limits.max_alloc = Some(MAX_PHOTO_ALLOC_BYTES);
    reader.limits(limits);
    let photo = reader.decode().map_err(|error| match error {
        image::ImageError::Limits(_) => QrError::TooManyPixels,
        _ => QrError::Damaged,
    })?;
    Ok(photo.into_luma8())
}

/// The photo as a try wants it.
fn prepare(photo: &GrayImage, one: &Try) -> GrayImage {
    let now = photo.width().max(photo.height());
    let sized = if now > one.longest {
        let part = |side: u32| {
            u32::try_from(u64::from(side) * u64::from(one.longest) / u64::from(now)).unwrap_or(one.longest).max(1)
        };
        // By sums of whole pixels: a filter would hold the photo in memory again, in floats.
        imageops::thumbnail(photo, part(photo.width()), part(photo.height()))
    } else if one.enlarge && now <= one.longest / 2 {
        imageops::resize(photo, 2 * photo.width(), 2 * photo.height(), FilterType::CatmullRom)
    } else {
        photo.clone()
    };
    if one.blur > 0.0 { imageops::blur(&sized, one.blur) } else { sized }
}

/// Whether a picture is full of what looks like corners of QR codes: every three of them would be tried together, which takes
/// minutes. Along each third row, runs of dark and light as 1:1:3:1:1 are counted, dark being below the row's mean.
fn looks_crowded(picture: &GrayImage) -> bool {
    let mut corners = 0;
    for row in picture.rows().step_by(3) {
        let pixels: Vec<u8> = row.map(|pixel| pixel.0[0]).collect();
        let mean = pixels.iter().map(|pixel| u64::from(*pixel)).sum::<u64>() / pixels.len().max(1) as u64;
        let is_dark = |pixel: u8| u64::from(pixel) < mean;
        let runs: Vec<Run> =
            pixels.chunk_by(|a, b| is_dark(*a) == is_dark(*b)).map(|run| Run::of(run, is_dark(run[0]))).collect();
        corners += runs.windows(5).filter(|five| is_corner(five)).count();
    }
    corners > MOST_CORNERS
}

/// Pixels of a row that are all dark or all light, and how light they are on average.
struct Run {
    is_dark: bool,
    length: usize,
    light: u64,
}

impl Run {
    fn of(pixels: &[u8], is_dark: bool) -> Self {
        let sum: u64 = pixels.iter().map(|pixel| u64::from(*pixel)).sum();
        Self { is_dark, length: pixels.len(), light: sum / pixels.len().max(1) as u64 }
    }
}

/// Whether five runs are as those through a finder pattern, each within half a module, and differ as ink and paper do: the noise
/// of a camera makes many that are alike.
fn is_corner(five: &[Run]) -> bool {
    let whole: usize = five.iter().map(|run| run.length).sum();
    let fits = |(run, modules): (&Run, usize)| {
        let (off, module) = ((run.length * 7).abs_diff(modules * whole), whole);
        2 * off <= modules * module
    };
    let is_clear = five.windows(2).all(|two| two[0].light.abs_diff(two[1].light) >= CLEAR);
    five[0].is_dark && whole >= 7 && is_clear && five.iter().zip([1, 1, 3, 1, 1]).all(fits)
}

/// A code that was found.
struct Found {
    text: String,
    /// The rectangle around it, in pixels: left, top, right, bottom.
    around: [f32; 4],
}

/// One code of the picture, if there is any, by whichever decoder reads it.
fn read_code(picture: &GrayImage) -> Option<Found> {
    by_rxing(picture).or_else(|| shielded(|| by_rqrr(picture)).flatten())
}

/// By local thresholds (uneven light), by one for all (noise), or as all that the picture shows.
fn by_rxing(picture: &GrayImage) -> Option<Found> {
    let hints = DecodeHints {
        PossibleFormats: Some(HashSet::from([BarcodeFormat::QR_CODE])),
        TryHarder: Some(true),
        ..DecodeHints::default()
    };
    let source = || Luma8LuminanceSource::new(picture.as_raw().clone(), picture.width(), picture.height());
    let local = || {
        let mut bitmap = BinaryBitmap::new(HybridBinarizer::new(source().ok()?));
        QRCodeReader.decode_with_hints(&mut bitmap, &hints).ok()
    };
    let global = |hints: &DecodeHints| {
        let mut bitmap = BinaryBitmap::new(GlobalHistogramBinarizer::new(source().ok()?));
        QRCodeReader.decode_with_hints(&mut bitmap, hints).ok()
    };
    // Some codes have places that look like a corner and lead the search astray: where nothing else is in the picture, no
    // search is needed.
    let alone = || global(&DecodeHints { PureBarcode: Some(true), ..hints.clone() });
    let found = shielded(local).flatten();
    let found = found.or_else(|| shielded(|| global(&hints)).flatten()).or_else(|| shielded(alone).flatten())?;
    // The points are the middles of the patterns, at most a quarter of their distance inside the edge.
    let points = found.getPoints().iter().map(|point| (point.x, point.y));
    Some(Found { text: found.getText().to_owned(), around: around(points, 0.25) })
}

/// By thresholds of its own, and with a better eye for tilted codes.
fn by_rqrr(picture: &GrayImage) -> Option<Found> {
    let (pixels, wide, high) = (picture.as_raw(), picture.width() as usize, picture.height() as usize);
    let mut prepared = rqrr::PreparedImage::prepare_from_greyscale(wide, high, |x, y| pixels[y * wide + x]);
    prepared.detect_grids().iter().find_map(|grid| {
        let (_, text) = grid.decode().ok()?;
        let corners = grid.bounds.iter().map(|corner| (corner.x as f32, corner.y as f32));
        Some(Found { text, around: around(corners, 0.0) })
    })
}

/// The rectangle around points, on each side wider by a part of its own width and height.
fn around(points: impl Iterator<Item = (f32, f32)>, margin: f32) -> [f32; 4] {
    let [mut left, mut top, mut right, mut bottom] = [f32::MAX, f32::MAX, f32::MIN, f32::MIN];
    for (x, y) in points {
        (left, right, top, bottom) = (left.min(x), right.max(x), top.min(y), bottom.max(y));
    }
    let (wide, high) = ((right - left).max(4.0) * margin, (bottom - top).max(4.0) * margin);
    [left - wide, top - high, right + wide, bottom + high]
}

/// Paints a found code over, so that the next look finds another.
fn paint_over(picture: &mut GrayImage, found: &Found) {
    let [left, top, right, bottom] = found.around;
    for (x, y, pixel) in picture.enumerate_pixels_mut() {
        if (left..=right).contains(&(x as f32)) && (top..=bottom).contains(&(y as f32)) {
            *pixel = Luma([255]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As long as a personal QR can be: 262 characters of a token's alphabet.
    fn personal() -> String {
        format!(
            "VP1:{}",
            &"6BF+70790T9WJWG.FKY*4GO0.O1CV2 O5 N2FBBRW1*70HS8WY04AC*WIFN0AHCD8KD97TK0F90".repeat(4)[..258]
        )
    }

    fn voucher() -> String {
        format!(
            "VQ1:{}",
            &"NCFOXN%TS3DH3ZSUZK+.V0ETD%65NL-AH-R6IOOK.IR9B+9G4G50PHZF0AT4V22F/8X*G3M9JUPY0BX/KR96R".repeat(4)[..306]
        )
    }

    fn to_file(picture: &GrayImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    #[test]
    fn a_picture_full_of_corners_is_not_tried() {
        // Finder patterns of three dots a module, side by side.
        let corner = |x: u32, y: u32| {
            let ring = x.abs_diff(3).max(y.abs_diff(3));
            x < 7 && y < 7 && ring != 2
        };
        let tiled = GrayImage::from_fn(1_200, 1_200, |x, y| Luma([if corner(x / 3 % 8, y / 3 % 8) { 0 } else { 255 }]));
        let began = Instant::now();
        assert_eq!(decode(&to_file(&tiled, ImageFormat::Png)), Err(QrError::NoCode));
        assert!(looks_crowded(&tiled) && began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    }

    fn second_opinion(picture: &GrayImage) -> Vec<String> {
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        let mut prepared = rqrr::PreparedImage::prepare_from_greyscale(width, height, |x, y| {
            picture.get_pixel(x as u32, y as u32).0[0]
        });
        prepared.detect_grids().iter().map(|grid| grid.decode().unwrap().1).collect()
    }

    /// A photo of a picture: turned on a grey table, out of focus, unevenly lit and with noise.
    fn photo(of: &GrayImage, degrees: f32, blur: f32, noise: u32) -> GrayImage {
        let (sin, cos) = degrees.to_radians().sin_cos();
        let size = (of.width() * 3 / 2) as f32;
        let mut random = 7_u32;
        let sharp = GrayImage::from_fn(size as u32, size as u32, |x, y| {
            let (x, y) = (x as f32 - size / 2.0, y as f32 - size / 2.0);
            let half = of.width() as f32 / 2.0;
            let (u, v) = (x * cos + y * sin + half, y * cos - x * sin + half);
            let inside = (0.0..2.0 * half).contains(&u) && (0.0..2.0 * half).contains(&v);
            if inside { *of.get_pixel(u as u32, v as u32) } else { Luma([200]) }
        });
        let mut blurred = imageops::blur(&sharp, blur);
        for (x, _, pixel) in blurred.enumerate_pixels_mut() {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let light = 140 + 100 * x / size as u32;
            pixel.0[0] = (u32::from(pixel.0[0]) * light / 255 + (random >> 16) % noise).min(255) as u8;
        }
        blurred
    }

    #[test]
    fn the_longest_tokens_fit_their_versions() {
        for (text, version) in [(personal(), 9), (voucher(), 10), ("0".repeat(MAX_TEXT_CHARS), 10), ("A".into(), 1)] {
            let (side, _) = modules(&text).unwrap();
            assert_eq!(side, 17 + 4 * version, "{} characters", text.len());
        }
    }

    #[test]
    fn two_decoders_read_what_is_drawn() {
        for text in [personal(), voucher(), "VC1:0".to_owned()] {
            for dots in [3, 4, 8] {
                assert_eq!(decode(&png(&text, dots).unwrap()), Ok(vec![text.clone()]), "{dots} dots");
                assert_eq!(second_opinion(&picture(&text, dots).unwrap()).concat(), text, "{dots} dots");
            }
        }
    }

    #[test]
    fn a_photo_is_read_though_turned_blurred_and_noisy() {
        let text = personal();
        let drawn = picture(&text, 6).unwrap();
        for (degrees, blur, noise) in [(0.0, 0.5, 10), (17.0, 1.2, 30), (45.0, 1.5, 20), (181.0, 1.0, 40)] {
            let shot = photo(&drawn, degrees, blur, noise);
            for format in [ImageFormat::Jpeg, ImageFormat::WebP] {
                assert_eq!(decode(&to_file(&shot, format)), Ok(vec![text.clone()]), "{degrees} degrees, {format:?}");
            }
        }
    }

    #[test]
    fn the_noise_of_a_camera_is_no_crowd() {
        let mut seed = 7_u32;
        let grey = GrayImage::from_fn(1280, 960, |_, _| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            Luma([110 + (seed >> 24) as u8 % 20])
        });
        assert!(!looks_crowded(&grey));
    }

    #[test]
    fn two_codes_in_one_photo_are_both_read() {
        let (left, right) = (picture(&personal(), 5).unwrap(), picture(&voucher(), 5).unwrap());
        let mut both = GrayImage::from_pixel(left.width() + right.width(), right.height(), Luma([255]));
        imageops::replace(&mut both, &left, 0, 0);
        imageops::replace(&mut both, &right, i64::from(left.width()), 0);
        let mut texts = decode(&to_file(&both, ImageFormat::Png)).unwrap();
        texts.sort();
        assert_eq!(texts, [personal(), voucher()]);
    }

    #[test]
    fn an_svg_is_the_same_modules_and_an_escaped_line() {
        let svg = svg("VC1:0", "Card <1> & \"2\"").unwrap();
        assert!(svg.starts_with("<svg ") && svg.ends_with("Card &lt;1&gt; &amp; &quot;2&quot;</text></svg>"), "{svg}");
        assert!(svg.contains("viewBox=\"0 0 29 33\""), "{svg}");
        // Drawn again from the path, it is the picture.
        let mut drawn = GrayImage::from_pixel(29, 29, Luma([255]));
        let path = svg.split("d=\"").nth(1).unwrap().split('"').next().unwrap();
        for place in path.split_terminator("h1v1h-1z") {
            let (x, y) = place[1..].split_once(' ').unwrap();
            drawn.put_pixel(x.parse().unwrap(), y.parse().unwrap(), Luma([0]));
        }
        assert_eq!(drawn, picture("VC1:0", 1).unwrap());
    }

    #[test]
    fn what_cannot_be_drawn_is_refused() {
        for text in ["", "lower case", "ä", "A\n", &"A".repeat(MAX_TEXT_CHARS + 1)] {
            assert_eq!(svg(text, ""), Err(QrError::Text), "{text}");
            assert_eq!(png(text, 4), Err(QrError::Text), "{text}");
        }
        for caption in ["two\nlines", &"x".repeat(MAX_CAPTION_CHARS + 1)] {
            assert_eq!(svg("A", caption), Err(QrError::Caption));
        }
        for dots in [0, MAX_DOTS_PER_MODULE + 1, u32::MAX] {
            assert_eq!(png("A", dots), Err(QrError::Dots));
        }
    }

    #[test]
    fn what_is_no_photo_of_a_code_is_refused() {
        let good = png(&personal(), 4).unwrap();
        let mut flipped = good.clone();
        flipped[good.len() / 2] ^= 0xff;
        let table: Vec<(&str, Vec<u8>, QrError)> = vec![
            ("empty", vec![], QrError::Format),
            ("garbage", (0..=255).collect(), QrError::Format),
            ("a GIF", b"GIF89a\x01\0\x01\0\0\0\0".to_vec(), QrError::Format),
            ("cut short", good[..good.len() / 2].to_vec(), QrError::Damaged),
            ("a header alone", good[..8].to_vec(), QrError::Damaged),
            ("damaged", flipped, QrError::Damaged),
            ("60,000 pixels a side", bomb(60_000, 60_000), QrError::TooManyPixels),
            ("too much memory", bomb(6000, 6000), QrError::TooManyPixels),
            ("no width", bomb(0, 10), QrError::Damaged),
            ("white", to_file(&GrayImage::from_pixel(300, 200, Luma([255])), ImageFormat::Png), QrError::NoCode),
            ("one pixel", to_file(&GrayImage::new(1, 1), ImageFormat::Png), QrError::NoCode),
            ("too many bytes", vec![0x89; MAX_PHOTO_BYTES + 1], QrError::TooManyBytes),
        ];
        for (name, bytes, why) in table {
            assert_eq!(decode(&bytes), Err(why), "{name}");
        }
    }

    /// A PNG in 16-bit colour that claims a size and holds a few bytes.
    fn bomb(width: u32, height: u32) -> Vec<u8> {
        let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
        let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[16, 2, 0, 0, 0]].concat();
        for (kind, data) in [(b"IHDR", &header[..]), (b"IDAT", &[0x78, 0x9c, 3, 0, 0, 0, 0, 1]), (b"IEND", &[])] {
            png.extend((data.len() as u32).to_be_bytes());
            let body = [&kind[..], data].concat();
            png.extend(&body);
            png.extend(crc32(&body).to_be_bytes());
        }
        png
    }

    /// The checksum of a PNG chunk.
    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(u32::MAX, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & 0_u32.wrapping_sub(crc & 1)))
        })
    }

    /// One in eighty codes has places that look like a corner and led the search astray, in the cleanest picture.
    #[test]
    fn a_code_that_looks_like_more_corners_is_read() {
        for text in [
            "VQ1:PXIP0:INR-2DSN9K4T8947:*K7D/L.T873PCH 9582ATIGX*FEONFE6O9Y3RDPGTR:UTPPEZ.D 20XK:V*096$PSKVGSD.UWI.RXXMKM44X\
             V9L1LX3OCQ-9N3X0HUC3BH6 T-X$RIF0MMKDU3PK0VBH-7$4F-:488$VMRVQ.HFNE6%49%*781RB7WF1JG93T/U/4XNI%PF*9E+JET9:A5R/\
             GB89BU.FK+V%IDH0FN7$$HBOYHCGXMZGK",
            "VQ1:591M.+39/+4SEMX.PS95NS0LT7LNN. $V3/GAV.99Z03F30J2FP3*D%UVJ%120NLPMT0.1D*A3ZEGK INMZROKC%CJLH5.BQSSA4GHZ+A\
             U58//4AG./QZAPRL6BA1/TFGYA1FM+7GI1RMXQ/:4NT4 S6GGD9H+:HDPLJLJK$9CBGNOSZ01A2GMIB0Y16839VVGLOEURP+URM8O4/S:O6/\
             KR$J03/.FJ*JRE.7X7IV95OS*V/Q5P2MKMN",
        ] {
            assert_eq!(decode(&png(text, 8).unwrap()).as_deref(), Ok(&[text.to_owned()][..]));
        }
    }
}
