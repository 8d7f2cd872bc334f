//! Rows on their way to and from whoever stores them: keys in the clear, values sealed to their keys.
//!
//! The key is made by the page and kept there wrapped by a key that no script can read out.

use crate::draw;
use crate::failure::Failure;
use js_sys::{Array, Uint8Array};
use roost_client::Error;
use roost_crypto::group::WriteSet;
use roost_crypto::sealing::{NONCE_BYTES, SealError, StoreKey};
use std::collections::BTreeMap;
use wasm_bindgen::prelude::wasm_bindgen;
use zeroize::Zeroizing;

/// Rows to be stored in one transaction: `puts` are alternately keys and sealed values, `deletes` are keys.
#[wasm_bindgen(getter_with_clone)]
pub struct Rows {
    /// Key, value, key, value …
    pub puts: Array,
    /// Keys.
    pub deletes: Array,
}

/// Seals and opens rows.
pub struct Vault(StoreKey);

impl Vault {
    pub fn new(key: &[u8]) -> Result<Self, Failure> {
        let key = <[u8; 32]>::try_from(key).map_err(|_| Failure::argument("expected a key of 32 bytes"))?;
        Ok(Self(StoreKey::from_bytes(&Zeroizing::new(key))))
    }

    pub fn seal(&self, writes: &WriteSet) -> Rows {
        let rows = Rows { puts: Array::new(), deletes: Array::new() };
        for (key, value) in &writes.0 {
            let name = Uint8Array::from(key.as_slice());
            match value {
                Some(value) => {
                    let mut nonce = [0; NONCE_BYTES];
                    draw(&mut nonce);
                    rows.puts.push(&name);
                    rows.puts.push(&Uint8Array::from(self.0.seal(key, value, nonce).as_slice()));
                }
                None => {
                    rows.deletes.push(&name);
                }
            }
        }
        rows
    }

    /// `keys` and `values` belong together by their place.
    pub fn open(&self, keys: &Array, values: &Array) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, Failure> {
        if keys.length() != values.length() {
            return Err(Failure::argument("expected as many values as keys"));
        }
        let mut rows = BTreeMap::new();
        for (key, value) in keys.iter().zip(values.iter()) {
            let (key, value) = (Uint8Array::new(&key).to_vec(), Uint8Array::new(&value).to_vec());
            let opened = self.0.open(&key, &value).map_err(|error| match error {
                SealError::Refused => Error::WrongKey,
                other => Error::Store(other.to_string()),
            })?;
            rows.insert(key, opened.to_vec());
        }
        Ok(rows)
    }
}
