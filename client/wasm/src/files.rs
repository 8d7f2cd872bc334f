//! Files for JavaScript: sealing and opening in parts, and what a device does about them.
//!
//! The bytes stay with the caller: sealed ones under the name of their blob until the event `unstage`, those that come until they are
//! opened. Implements `docs/protocol.md`, section "Files".

use crate::acts::{beside, failed, message, recipient};
use crate::device::Device;
use crate::draw;
use crate::failure::{Failure, to_js};
use roost_client::core::{Carried, FileDraft, Input};
use roost_crypto::blobs;
use roost_crypto::files::{FILE_KEY_BYTES, FileKey, FileOpener as Opener, FileSealer as Sealer};
use roost_protocol::Bytes;
use roost_protocol::content::{BlobRef, Dimensions};
use roost_protocol::ids::BlobId;
use roost_protocol::limits::FILE_BYTES_MAX;
use serde::Deserialize;
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;
use zeroize::Zeroizing;

type Done<T = ()> = Result<T, JsValue>;

/// Seals a file under a new key, part by part.
#[wasm_bindgen]
pub struct FileSealer {
    sealer: Option<Sealer>,
    key: Zeroizing<[u8; FILE_KEY_BYTES]>,
    blob: Option<BlobId>,
}

#[wasm_bindgen]
impl FileSealer {
    /// For a file of `size` bytes.
    ///
    /// # Errors
    /// `too_large`.
    #[wasm_bindgen(constructor)]
    pub fn new(size: f64) -> Done<Self> {
        let size = length(size)?;
        if size > FILE_BYTES_MAX {
            let error = roost_client::Error::FileTooLong { max: FILE_BYTES_MAX, got: size };
            return Err(failed(error));
        }
        let mut key = Zeroizing::new([0; FILE_KEY_BYTES]);
        draw(key.as_mut_slice());
        Ok(Self { sealer: Some(Sealer::new(&FileKey::from_bytes(&key), size)), key, blob: None })
    }

    /// Takes the next bytes; gives the sealed ones that they complete.
    ///
    /// # Errors
    /// `io` for more bytes than were announced.
    pub fn write(&mut self, part: &[u8]) -> Done<Vec<u8>> {
        let mut sealed = Vec::new();
        let sealer = self.sealer.as_mut().ok_or_else(ended)?;
        sealer.write(part, &mut sealed).map_err(changed)?;
        Ok(sealed)
    }

    /// Gives the last sealed bytes; [`Self::blob`] and [`Self::key`] are there now.
    ///
    /// # Errors
    /// `io` for fewer bytes than were announced.
    pub fn finish(&mut self) -> Done<Vec<u8>> {
        let mut sealed = Vec::new();
        let sealer = self.sealer.take().ok_or_else(ended)?;
        self.blob = Some(sealer.finish(&mut sealed).map_err(changed)?);
        Ok(sealed)
    }

    /// The name of the sealed bytes, once all are there.
    #[wasm_bindgen(getter)]
    pub fn blob(&self) -> Option<String> {
        self.blob.map(|blob| blob.to_string())
    }

    /// What `sendFile` takes: a secret.
    #[wasm_bindgen(getter)]
    pub fn key(&self) -> Vec<u8> {
        self.key.to_vec()
    }
}

/// Opens a file that came, part by part. Only `finish` says that it is whole.
#[wasm_bindgen]
pub struct FileOpener(Option<Opener>);

#[wasm_bindgen]
impl FileOpener {
    /// Takes the next sealed bytes; gives what they open.
    ///
    /// # Errors
    /// `bad_file`: nothing of it may be shown.
    pub fn write(&mut self, part: &[u8]) -> Done<Vec<u8>> {
        let mut opened = Vec::new();
        let opener = self.0.as_mut().ok_or_else(ended)?;
        if let Err(error) = opener.write(part, &mut opened) {
            self.0 = None;
            return Err(failed(roost_client::Error::BadFile(error)));
        }
        Ok(opened)
    }

    /// All sealed bytes were written.
    ///
    /// # Errors
    /// `bad_file`.
    pub fn finish(&mut self) -> Done {
        let opener = self.0.take().ok_or_else(ended)?;
        opener.finish().map_err(|error| failed(roost_client::Error::BadFile(error)))
    }
}

/// A file that was sealed, as it is to be said.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Draft {
    name: String,
    media_type: String,
    size: f64,
    blob: String,
    #[serde(default)]
    width: Option<u32>,
    #[serde(default)]
    height: Option<u32>,
    #[serde(default)]
    duration_ms: Option<f64>,
    #[serde(default)]
    caption: String,
}

#[wasm_bindgen]
impl Device {
    /// Says a file that was sealed; its bytes go to the home first, as the events `upload` ask for them. The message's id.
    ///
    /// # Errors
    /// As `send`; `bad_content`.
    #[wasm_bindgen(js_name = sendFile)]
    pub fn send_file(
        &mut self,
        to: &str,
        key: &[u8],
        thumbnail: Option<Vec<u8>>,
        file: JsValue,
        beside_it: JsValue,
    ) -> Done<String> {
        let draft: Draft = serde_wasm_bindgen::from_value(file).map_err(Failure::argument)?;
        let to = recipient(to)?;
        let extras = self.extras(&to, draft.caption.as_str(), beside(beside_it)?)?;
        let dimensions = match (draft.width, draft.height) {
            (Some(width), Some(height)) => Some(Dimensions { width, height }),
            _ => None,
        };
        let draft = FileDraft {
            name: draft.name,
            media_type: draft.media_type,
            size: length(draft.size)?,
            blob: blob(&draft.blob)?,
            key: Bytes(key.to_vec()),
            thumbnail: thumbnail.map(Bytes),
            dimensions,
            duration_ms: draft.duration_ms.map(length).transpose()?,
            caption: draft.caption,
        };
        let id = self.core.send_file(&to, draft, extras, &mut draw, self.now_ms).map_err(failed)?;
        Ok(id.to_string())
    }

    /// Takes back a file that was not sent yet.
    ///
    /// # Errors
    /// `unknown_message`, `not_possible`.
    #[wasm_bindgen(js_name = cancelFile)]
    pub fn cancel_file(&mut self, id: &str) -> Done {
        let id = message(id)?;
        self.core.cancel_file(&id).map_err(failed)
    }

    /// Wants the sealed bytes of the file of a message, of which `have` are here: the events `download` ask for parts. How many they are.
    ///
    /// # Errors
    /// `unknown_message`, `message_gone`, `not_possible`.
    #[wasm_bindgen(js_name = fetchFile)]
    pub fn fetch_file(&mut self, id: &str, have: f64) -> Done<f64> {
        let (id, have) = (message(id)?, length(have)?);
        let BlobRef { bytes, .. } = self.core.fetch_file(id, have).map_err(failed)?;
        Ok(number(bytes))
    }

    /// The file is not wanted any more.
    ///
    /// # Errors
    /// `bad_argument`.
    #[wasm_bindgen(js_name = stopFetching)]
    pub fn stop_fetching(&mut self, id: &str) -> Done {
        let id = message(id)?;
        self.core.stop_fetching(&id);
        Ok(())
    }

    /// What opens the file of a message.
    ///
    /// # Errors
    /// As [`Self::fetch_file`]; `bad_file`.
    #[wasm_bindgen(js_name = fileOpener)]
    pub fn file_opener(&self, id: &str) -> Done<FileOpener> {
        let row = self.core.file_of(&message(id)?).map_err(failed)?;
        let key = <[u8; FILE_KEY_BYTES]>::try_from(row.file.key.as_slice());
        let key = Zeroizing::new(key.map_err(|_| Failure::argument("the file has no key"))?);
        Ok(FileOpener(Some(Opener::new(&FileKey::from_bytes(&key), row.file.size, row.file.blob))))
    }

    /// What is on its way: `Transfer[]`.
    pub fn transfers(&self) -> JsValue {
        to_js(&self.core.transfers())
    }

    /// The blobs whose sealed bytes must be kept here.
    ///
    /// # Errors
    /// `internal`.
    #[wasm_bindgen(js_name = stagedBlobs)]
    pub fn staged_blobs(&self) -> Done<Vec<String>> {
        let blobs = self.core.staged_blobs().map_err(|error| failed(roost_client::Error::from(error)))?;
        Ok(blobs.iter().map(BlobId::to_string).collect())
    }

    /// What came of an `upload`: how many bytes the home has; nothing if the part was not carried.
    ///
    /// # Errors
    /// `internal`.
    pub fn uploaded(&mut self, id: &str, have: Option<f64>, missing: bool) -> Done {
        let (blob, carried) = (blob(id)?, carried(have, missing)?);
        self.core.handle(Input::Uploaded(blob, carried), &mut draw, self.now_ms).map_err(core_failed)
    }

    /// What came of a `download`: how many bytes are here; nothing if the part was not carried.
    ///
    /// # Errors
    /// `internal`.
    pub fn downloaded(&mut self, id: &str, have: Option<f64>, missing: bool) -> Done {
        let (id, carried) = (message(id)?, carried(have, missing)?);
        self.core.handle(Input::Downloaded(id, carried), &mut draw, self.now_ms).map_err(core_failed)
    }
}

/// Bytes of the blob of a file of `size` bytes.
///
/// # Errors
/// `bad_argument`.
#[wasm_bindgen(js_name = sealedBytes)]
pub fn sealed_bytes(size: f64) -> Done<f64> {
    Ok(number(blobs::sealed_bytes(length(size)?)))
}

fn carried(have: Option<f64>, missing: bool) -> Result<Carried, Failure> {
    Ok(match have {
        _ if missing => Carried::Missing,
        Some(have) => Carried::Have(length(have)?),
        None => Carried::NotNow,
    })
}

fn blob(id: &str) -> Result<BlobId, Failure> {
    id.parse().map_err(|_| Failure::argument("no name of a blob"))
}

fn length(number: f64) -> Result<u64, Failure> {
    if number.fract() != 0.0 || !(0.0..=9_007_199_254_740_991.0).contains(&number) {
        return Err(Failure::argument("a length is a whole number"));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole, and below 2^53")]
    Ok(number as u64)
}

#[expect(clippy::cast_precision_loss, reason = "lengths are below 2^53")]
fn number(length: u64) -> f64 {
    length as f64
}

fn changed(error: roost_crypto::files::FileError) -> JsValue {
    failed(roost_client::Error::File(format!("the file changed while it was read: {error}")))
}

fn ended() -> JsValue {
    Failure::argument("it has ended").into()
}

fn core_failed(error: roost_client::core::DeviceError) -> JsValue {
    Failure::from(error).into()
}
