//! Pure: images in the PGM format: grey, a byte for each point.
use std::fmt;

/// Larger ones are refused before anything is made of them.
const MOST: usize = 1 << 24;

/// The bytes are no image of that format.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed(&'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no PGM image: {}", self.0)
    }
}

impl std::error::Error for Malformed {}

/// A copy of that width, in proportion; each point is the nearest of the original's.
///
/// # Errors
///
/// [`Malformed`]: trying again would not help.
pub fn resize(image: &[u8], width: usize) -> Result<Vec<u8>, Malformed> {
    let (was, high, points) = parse(image)?;
    let height = (high * width / was).max(1);
    let mut resized = format!("P5\n{width} {height}\n255\n").into_bytes();
    for y in 0..height {
        let row = &points[y * high / height * was..][..was];
        resized.extend((0..width).map(|x| row[x * was / width]));
    }
    Ok(resized)
}

/// Width, height and points.
fn parse(image: &[u8]) -> Result<(usize, usize, &[u8]), Malformed> {
    let mut rest = image.strip_prefix(b"P5").ok_or(Malformed("it does not begin with P5"))?;
    let mut number = || {
        let digits = rest.trim_ascii_start();
        let end = digits.iter().position(|byte| !byte.is_ascii_digit()).ok_or(Malformed("it is cut off"))?;
        let (digits, after) = digits.split_at(end);
        rest = after;
        std::str::from_utf8(digits).ok().and_then(|digits| digits.parse::<usize>().ok()).ok_or(Malformed("no number"))
    };
    let (width, height, most) = (number()?, number()?, number()?);
    if most != 255 {
        return Err(Malformed("a point is not a byte"));
    }
    let size = width.checked_mul(height).filter(|size| (1..=MOST).contains(size));
    let size = size.ok_or(Malformed("it is empty or too large"))?;
    let points = rest.split_first().map(|(_, points)| points).unwrap_or_default();
    if points.len() == size { Ok((width, height, points)) } else { Err(Malformed("points are missing or too many")) }
}
