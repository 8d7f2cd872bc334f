//! A file of this machine as it is sent, and the name under which one that came is saved.
//!
//! A picture is drawn anew, so nothing of what a camera wrote beside it (place, time, owner) leaves this machine; other files go as they
//! are. The name of a file that came is somebody else's word: it never leads to another place than the one that was meant.

use crate::output::Failure;
use crate::picture;
use roost_client::runner::{OutgoingFile, Source};
use roost_protocol::content::{Dimensions, MediaType, check_name};
use roost_protocol::limits::{FILE_BYTES_MAX, FILE_NAME_BYTES_MAX};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Bytes that say what kind of picture a file is.
const MAGIC_BYTES: u64 = 16;

/// Reads what is to be sent. `as_is` leaves a picture as it is, with all that stands in its file.
///
/// # Errors
/// [`Failure`], exit 2 for what is no file, is too large, or is a picture that cannot be drawn.
pub fn read(path: &Path, caption: String, as_is: bool) -> Result<OutgoingFile, Failure> {
    let doing = format!("reading {}", path.display());
    let file = File::open(path).map_err(Failure::io(&doing))?;
    let metadata = file.metadata().map_err(Failure::io(&doing))?;
    if !metadata.is_file() {
        let message = format_args!("{}: this is no file", path.display());
        return Err(Failure::usage("no_file", message, "name one file; pack a directory first"));
    }
    if metadata.len() > FILE_BYTES_MAX {
        let message = format_args!("expected a file of at most {FILE_BYTES_MAX} bytes, got {}", metadata.len());
        return Err(Failure::usage("too_large", message, "send it another way, or in parts"));
    }
    let mut magic = Vec::new();
    file.take(MAGIC_BYTES).read_to_end(&mut magic).map_err(Failure::io(&doing))?;
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let name = harmless(&name);
    let plain = |name: String, media_type: &str| OutgoingFile {
        source: Source::Path(path.to_owned()),
        name,
        media_type: media_type.to_owned(),
        thumbnail: None,
        dimensions: None,
        duration_ms: None,
        caption: caption.clone(),
    };
    match MediaType::of(&magic) {
        Some(kind) if as_is => Ok(plain(name, kind.name())),
        Some(_) => {
            let drawn = picture::redraw(path)?;
            let dimensions = Some(Dimensions { width: drawn.width, height: drawn.height });
            let name = with_ending(&name, drawn.kind);
            let (source, thumbnail) = (Source::Bytes(drawn.bytes), drawn.thumbnail);
            Ok(OutgoingFile { source, thumbnail, dimensions, ..plain(name, drawn.kind.name()) })
        }
        None => {
            let guess = mime_guess::from_path(path).first_or_octet_stream();
            Ok(plain(name, &guess.essence_str().to_ascii_lowercase()))
        }
    }
}

/// Where a file that came is saved unless told: in the directory where the program runs, under its harmless name.
pub fn place(name: &str) -> PathBuf {
    PathBuf::from(harmless(name))
}

/// A name as one part of a path that is not hidden, leads nowhere, and looks like what it is.
fn harmless(name: &str) -> String {
    // Marks that turn the direction of writing make `exe.gpj` look like `jpg.exe`.
    let turns = |character: char| matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let bad = |character: char| {
        character.is_control()
            || turns(character)
            || matches!(character, '/' | '\\' | ':' | '*' | '?' | '"' | '<' | '>' | '|')
    };
    let mut harmless: String = name.chars().map(|one| if bad(one) { '_' } else { one }).collect();
    if harmless.starts_with(['.', '-', ' ']) {
        harmless.replace_range(..1, "_");
    }
    while harmless.ends_with(['.', ' ']) {
        harmless.pop();
    }
    while harmless.len() > FILE_NAME_BYTES_MAX {
        harmless.pop();
    }
    if check_name(&harmless).is_ok() { harmless } else { "file".into() }
}

/// A picture that was drawn as another kind than it was is called so.
fn with_ending(name: &str, kind: MediaType) -> String {
    let (ending, fits): (&str, &[&str]) = match kind {
        MediaType::Jpeg => ("jpg", &["jpg", "jpeg"]),
        MediaType::Png => ("png", &["png"]),
        MediaType::Webp => ("webp", &["webp"]),
    };
    let path = Path::new(name);
    let is = path.extension().is_some_and(|is| fits.iter().any(|fits| is.eq_ignore_ascii_case(fits)));
    if is { name.to_owned() } else { harmless(&path.with_extension(ending).to_string_lossy()) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use image::codecs::jpeg::JpegEncoder;
    use image::{Rgb, RgbImage};

    #[test]
    fn a_name_leads_nowhere() {
        for (name, expected) in [
            ("report.pdf", "report.pdf"),
            ("../../etc/passwd", "_._.._etc_passwd"),
            ("/etc/passwd", "_etc_passwd"),
            ("..", "_"),
            (".", "_"),
            ("", "file"),
            (".bashrc", "_bashrc"),
            ("-rf", "_rf"),
            ("C:\\Windows\\win.ini", "C__Windows_win.ini"),
            ("a\u{202e}gpj.exe", "a_gpj.exe"),
            ("line\nbreak", "line_break"),
            ("nul\0byte", "nul_byte"),
            ("trailing. . ", "trailing"),
            ("größe.txt", "größe.txt"),
        ] {
            assert_eq!(harmless(name), expected, "{name:?}");
            assert_eq!(place(name).components().count(), 1, "{name:?} is one part of a path");
        }
        let long = "x".repeat(400);
        assert_eq!(harmless(&long).len(), FILE_NAME_BYTES_MAX, "no longer than a name may be");
    }

    #[test]
    fn a_photo_is_drawn_anew_and_nothing_is_left_of_what_stood_beside_it_before_or_behind() {
        let dir = tempfile::tempdir().unwrap();
        let image = RgbImage::from_fn(640, 480, |x, y| Rgb([x as u8, y as u8, (x + y) as u8]));
        let mut photo = Vec::new();
        JpegEncoder::new_with_quality(&mut photo, 90).encode_image(&image).unwrap();
        let remark = b"Exif\0\0taken at home";
        let length = u16::try_from(remark.len() + 2).unwrap().to_be_bytes();
        // Cameras put a second picture behind the first, with remarks of its own.
        let photo = [&photo[..2], &[0xff, 0xe1], &length, remark, &photo[2..], &photo[..2], remark].concat();
        let path = dir.path().join("holiday.jpeg");
        std::fs::write(&path, &photo).unwrap();
        let sent = read(&path, "look".into(), false).unwrap();
        let Source::Bytes(bytes) = sent.source else { panic!("it is drawn anew") };
        let words = b"taken at home";
        assert!(!bytes.windows(words.len()).any(|part| part == words), "nobody learns where");
        assert_eq!(
            (sent.name.as_str(), sent.media_type.as_str()),
            ("holiday.jpeg", "image/jpeg"),
            "it stays what it was"
        );
        assert_eq!(sent.dimensions, Some(Dimensions { width: 640, height: 480 }), "as large as it was");
        assert!(sent.thumbnail.unwrap().len() <= roost_protocol::limits::THUMBNAIL_BYTES_MAX, "with a small one");
        let as_is = read(&path, String::new(), true).unwrap();
        assert!(matches!(as_is.source, Source::Path(_)), "unless the person wants it as it is");
    }

    #[test]
    fn other_files_go_as_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notes.txt");
        std::fs::write(&path, "words").unwrap();
        let sent = read(&path, String::new(), false).unwrap();
        assert_eq!((sent.name.as_str(), sent.media_type.as_str()), ("notes.txt", "text/plain"), "by its ending");
        assert_eq!(read(dir.path(), String::new(), false).err().unwrap().code, "no_file", "a directory is none");
        std::fs::write(&path, b"\xff\xd8\xff but no picture").unwrap();
        let failure = read(&path, String::new(), false).err().unwrap();
        assert_eq!(failure.code, "bad_picture", "what claims to be a picture may carry anything beside it");
        assert!(failure.hint.contains("--as-is"), "{}", failure.hint);
    }
}
