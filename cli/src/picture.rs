//! Pictures between a file and a message: read, scaled down until one fits a message, and saved.
//!
//! Whatever is given is drawn anew, so nothing of what a camera wrote beside it (place, time, owner) leaves this machine.

use crate::output::Failure;
use image::codecs::jpeg::JpegEncoder;
use image::imageops::FilterType;
use image::{DynamicImage, ImageDecoder as _, ImageFormat, ImageReader, Limits, RgbImage};
use roost_protocol::content::MediaType;
use roost_protocol::{Bytes, limits};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::fs::{File, OpenOptions};
use std::io::{Cursor, Read as _, Write as _};
use std::path::Path;

/// Longest file that is read: more than a camera writes.
const FILE_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// Most that a decoder may take for one image: 8,000 by 8,000 points.
const DECODED_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Longest side of a picture, points, largest first: the first that fits is taken.
const SIDES: [u32; 5] = [256, 192, 128, 96, 64];
/// Quality of a JPEG that is drawn anew to be sent as a file: what is lost shows nowhere.
const QUALITY_OF_FILES: u8 = 92;
/// Qualities of JPEG that are tried for each.
const QUALITIES: [u8; 4] = [85, 70, 55, 40];

/// A picture of a file that fits a message.
///
/// # Errors
/// [`Failure`]: exit 2 for a file that is none or is too large to be read.
pub fn read(path: &Path) -> Result<Bytes, Failure> {
    let hint = "give a JPEG, PNG or WebP file";
    let image = drawn(path, "scale the picture down first", hint)?;
    let bad =
        || Failure::usage("bad_picture", format_args!("{}: it cannot be made small enough", path.display()), hint);
    fitting(&image, limits::PICTURE_BYTES_MAX).ok_or_else(bad).map(Bytes)
}

/// A picture as it was, without what stood beside it in its file.
pub struct Redrawn {
    /// JPEG, or PNG.
    pub bytes: Vec<u8>,
    /// Which.
    pub kind: MediaType,
    /// Points from left to right, as it is looked at.
    pub width: u32,
    /// From top to bottom.
    pub height: u32,
    /// A small one, if one can be made.
    pub thumbnail: Option<Bytes>,
}

/// Draws the picture of a file anew, in its size: one with clear points, or that was a PNG, as PNG, others as JPEG.
///
/// # Errors
/// [`Failure`]: exit 2 for a file that is none or is too large to be drawn.
pub fn redraw(path: &Path) -> Result<Redrawn, Failure> {
    let hint = "it may carry what no one may see; `--as-is` sends it with all that is in it";
    let image = drawn(path, hint, hint)?;
    let bad = || Failure::usage("bad_picture", format_args!("{}: it cannot be drawn", path.display()), hint);
    let mut magic = [0; 8];
    let was = File::open(path).and_then(|mut file| file.read_exact(&mut magic)).map(|()| MediaType::of(&magic));
    let lossless = is_clear(&image) || was.is_ok_and(|was| was == Some(MediaType::Png));
    let (kind, bytes) = match lossless {
        true => (MediaType::Png, png(&image)),
        false => (MediaType::Jpeg, jpeg(&image, QUALITY_OF_FILES)),
    };
    let thumbnail = fitting(&image, limits::THUMBNAIL_BYTES_MAX).map(Bytes);
    Ok(Redrawn { bytes: bytes.ok_or_else(bad)?, kind, width: image.width(), height: image.height(), thumbnail })
}

fn drawn(path: &Path, if_large: &str, if_bad: &str) -> Result<DynamicImage, Failure> {
    let shown = path.display();
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(Failure::io(format_args!("opening {shown}")))?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(Failure::io(format_args!("reading {shown}")))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        let message = format!("expected a file of at most {FILE_BYTES_MAX} bytes: {shown}");
        return Err(Failure::usage("too_large", message, if_large));
    }
    decode(&bytes).map_err(|error| Failure::usage("bad_picture", format_args!("{shown}: {error}"), if_bad))
}

/// Writes a picture to a file that is not there yet.
///
/// # Errors
/// [`Failure`].
pub fn save(picture: Option<&Bytes>, path: &Path) -> Result<(), Failure> {
    let Some(picture) = picture else {
        return Err(Failure::usage(
            "no_picture",
            "there is no picture to be saved",
            "nobody has chosen one, or not told you",
        ));
    };
    let doing = format!("writing {}", path.display());
    let mut file = match OpenOptions::new().write(true).create_new(true).open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            let message = format!("there is a file already: {}", path.display());
            return Err(Failure::usage("exists", message, "choose another name"));
        }
        opened => opened.map_err(Failure::io(&doing))?,
    };
    file.write_all(picture.as_slice()).map_err(Failure::io(&doing))
}

/// What programs read of a picture; `null` for none.
pub fn value(picture: Option<&Bytes>) -> Value {
    let Some(picture) = picture else { return Value::Null };
    json!({
        "media_type": media_type(picture), "bytes": picture.len(),
        "sha256": hex::encode(Sha256::digest(picture.as_slice())),
    })
}

/// What people read of it.
pub fn words(picture: Option<&Bytes>) -> String {
    picture.map_or_else(|| "no picture".into(), |picture| format!("{}, {} bytes", media_type(picture), picture.len()))
}

fn media_type(picture: &Bytes) -> &'static str {
    MediaType::of(picture.as_slice()).map_or("application/octet-stream", MediaType::name)
}

fn decode(bytes: &[u8]) -> image::ImageResult<DynamicImage> {
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format()?;
    let mut limits = Limits::default();
    limits.max_alloc = Some(DECODED_BYTES_MAX);
    reader.limits(limits);
    let mut decoder = reader.into_decoder()?;
    let orientation = decoder.orientation()?;
    let mut image = DynamicImage::from_decoder(decoder)?;
    image.apply_orientation(orientation);
    Ok(image)
}

/// Whether something behind it would shine through.
fn is_clear(image: &DynamicImage) -> bool {
    image.color().has_alpha() && image.to_rgba8().pixels().any(|point| point.0[3] < u8::MAX)
}

fn fitting(image: &DynamicImage, bytes_max: usize) -> Option<Vec<u8>> {
    let fits = |bytes: &Vec<u8>| bytes.len() <= bytes_max;
    let clear = is_clear(image);
    let scaled = SIDES.iter().map(|side| match image.width().max(image.height()) > *side {
        true => image.resize(*side, *side, FilterType::Lanczos3),
        false => image.clone(),
    });
    for image in scaled {
        if clear && let Some(bytes) = png(&image).filter(fits) {
            return Some(bytes);
        }
        if !clear && let Some(bytes) = QUALITIES.iter().filter_map(|quality| jpeg(&image, *quality)).find(fits) {
            return Some(bytes);
        }
    }
    None
}

fn png(image: &DynamicImage) -> Option<Vec<u8>> {
    let mut bytes = Cursor::new(Vec::new());
    DynamicImage::ImageRgba8(image.to_rgba8()).write_to(&mut bytes, ImageFormat::Png).ok()?;
    Some(bytes.into_inner())
}

fn jpeg(image: &DynamicImage, quality: u8) -> Option<Vec<u8>> {
    let rgb: RgbImage = image.to_rgb8();
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, quality).encode_image(&rgb).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{Rgb, Rgba, RgbaImage};

    /// Something that no encoder makes small.
    fn noise(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| {
            let mixed = x.wrapping_mul(2_654_435_761).wrapping_add(y.wrapping_mul(40_503)).rotate_left(y % 31);
            Rgb([mixed as u8, (mixed >> 8) as u8, (mixed >> 16) as u8])
        })
    }

    fn file(dir: &tempfile::TempDir, name: &str, bytes: &[u8]) -> std::path::PathBuf {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    #[test]
    fn a_photo_of_any_size_becomes_a_picture_that_fits_and_nothing_is_left_of_what_stood_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut photo = Vec::new();
        JpegEncoder::new_with_quality(&mut photo, 90).encode_image(&noise(1600, 1200)).unwrap();
        // A camera's remark, in a segment of its own behind the first two bytes.
        let remark = b"Exif\0\0taken at home";
        let length = u16::try_from(remark.len() + 2).unwrap().to_be_bytes();
        let photo = [&photo[..2], &[0xff, 0xe1], &length, remark, &photo[2..]].concat();
        let picture = read(&file(&dir, "photo.jpg", &photo)).unwrap();
        assert!(picture.len() <= limits::PICTURE_BYTES_MAX, "{} bytes fit a message", picture.len());
        assert_eq!(MediaType::of(picture.as_slice()), Some(MediaType::Jpeg), "a photo stays a photo");
        let words = b"taken at home";
        assert!(!picture.as_slice().windows(words.len()).any(|bytes| bytes == words), "nobody learns where");
        let drawn = image::load_from_memory(picture.as_slice()).unwrap();
        assert_eq!(drawn.width() * 3, drawn.height() * 4, "in its proportions");
    }

    #[test]
    fn a_sign_with_clear_points_keeps_them() {
        let dir = tempfile::tempdir().unwrap();
        let sign = RgbaImage::from_fn(400, 400, |x, _| Rgba([200, 30, 30, if x < 200 { 0 } else { 255 }]));
        let mut bytes = Cursor::new(Vec::new());
        DynamicImage::ImageRgba8(sign).write_to(&mut bytes, ImageFormat::Png).unwrap();
        let picture = read(&file(&dir, "sign.png", &bytes.into_inner())).unwrap();
        assert_eq!(MediaType::of(picture.as_slice()), Some(MediaType::Png), "JPEG has no clear points");
        let drawn = image::load_from_memory(picture.as_slice()).unwrap().to_rgba8();
        assert_eq!((drawn.get_pixel(5, 5).0[3], drawn.get_pixel(250, 5).0[3]), (0, 255), "they are where they were");
    }

    #[test]
    fn what_is_no_picture_is_refused_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let text = read(&file(&dir, "words.png", b"no picture at all")).unwrap_err();
        assert_eq!((text.code.as_str(), text.exit.code()), ("bad_picture", 2), "input");
        assert!(text.hint.contains("JPEG"), "{}", text.hint);
        assert_eq!(read(&dir.path().join("none")).unwrap_err().code, "io", "a file that is not there");
    }

    #[test]
    fn a_picture_is_saved_once_and_never_over_another_file() {
        let dir = tempfile::tempdir().unwrap();
        let picture = Bytes(b"\xff\xd8\xff\xe0 and more".to_vec());
        let path = dir.path().join("face.jpg");
        save(Some(&picture), &path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), picture.0, "byte by byte");
        assert_eq!(save(Some(&picture), &path).unwrap_err().code, "exists", "nothing is overwritten");
        assert_eq!(save(None, &path).unwrap_err().code, "no_picture", "and nothing is made of none");
        let told = value(Some(&picture));
        assert_eq!((told["media_type"].as_str(), told["bytes"].as_u64()), (Some("image/jpeg"), Some(13)), "{told}");
    }
}
