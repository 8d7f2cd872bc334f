//! A read-only copy of one epoch: opens the late messages of its epoch and nothing later.
//!
//! A full copy and the public commits would open every later epoch up to our own next path. So the copy has no key pair
//! of leaf or path and no pending commit, and its init, exporter, external and resumption secrets are overwritten. What
//! stays are the message keys of the epoch and its public state, by which signatures are checked.

use super::super::overlay::{
    CONFIRMATION_TAG, CONTEXT, EPOCH_SECRETS, GROUP_STATE, INTERIM_TRANSCRIPT_HASH, JOIN_CONFIG, MESSAGE_SECRETS,
    OWN_LEAF_INDEX, RESUMPTION_PSKS, TREE, row_key, to_cbor,
};
use super::super::past_epochs::Dropped;
use super::super::{GroupError, Rows, WriteSet};
use openmls::group::MlsGroupState;
use openmls::prelude::GroupId;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize as _, Zeroizing};

/// Tables whose rows are copied as they are.
const COPIED: [&str; 7] =
    [TREE, CONTEXT, INTERIM_TRANSCRIPT_HASH, CONFIRMATION_TAG, JOIN_CONFIG, OWN_LEAF_INDEX, MESSAGE_SECRETS];
/// Tables whose rows are overwritten.
const OVERWRITTEN: [&str; 3] = [EPOCH_SECRETS, RESUMPTION_PSKS, GROUP_STATE];

/// Writes the copy of the epoch that `rows` hold; returns its size in bytes.
pub(super) fn copy(rows: &dyn Rows, writes: &mut WriteSet, group_id: &[u8], epoch: u64) -> Result<u64, GroupError> {
    let prefix = prefix(group_id, epoch);
    let group = GroupId::from_slice(group_id);
    let row = |table: &str| {
        let key = row_key(table, &group).map_err(|_| GroupError::BadRow)?;
        let value = rows.row(&key).ok_or(GroupError::BadRow)?;
        Ok::<_, GroupError>(([prefix.as_slice(), &key].concat(), value))
    };
    let mut copied = COPIED.into_iter().map(row).collect::<Result<Vec<_>, _>>()?;
    let (key, secrets) = row(EPOCH_SECRETS)?;
    copied.push((key, overwritten_secrets(&Zeroizing::new(secrets))?));
    let (key, psks) = row(RESUMPTION_PSKS)?;
    copied.push((key, no_psks(&Zeroizing::new(psks))?));
    // A pending commit holds the secrets of the next epoch.
    let (key, _) = row(GROUP_STATE)?;
    copied.push((key, to_cbor(&MlsGroupState::Operational).map_err(|_| GroupError::BadRow)?));
    let bytes = copied.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum();
    writes.0.extend(copied.into_iter().map(|(key, value)| (key, Some(value))));
    Ok(bytes)
}

/// Deletes the rows of a copy.
pub(super) fn delete(writes: &mut WriteSet, dropped: &Dropped) -> Result<(), GroupError> {
    let prefix = prefix(&dropped.group_id, dropped.epoch);
    let group = GroupId::from_slice(&dropped.group_id);
    for table in COPIED.into_iter().chain(OVERWRITTEN) {
        let key = row_key(table, &group).map_err(|_| GroupError::BadRow)?;
        writes.0.insert([prefix.as_slice(), &key].concat(), None);
    }
    Ok(())
}

/// The rows of a copy, under the keys that OpenMLS asks for.
pub(super) struct CopyRows<'a> {
    rows: &'a dyn Rows,
    prefix: Vec<u8>,
}

impl<'a> CopyRows<'a> {
    /// Of a group's epoch.
    pub(super) fn new(rows: &'a dyn Rows, group_id: &[u8], epoch: u64) -> Self {
        Self { rows, prefix: prefix(group_id, epoch) }
    }

    /// Adds what was written to the copy; returns the bytes of those rows before and after.
    pub(super) fn writes_of(&self, written: WriteSet, writes: &mut WriteSet) -> (u64, u64) {
        let length = |value: &Option<Vec<u8>>| value.as_ref().map_or(0, |value| value.len() as u64);
        let (mut before, mut after) = (0, 0);
        for (key, value) in written.0 {
            before += length(&self.row(&key));
            after += length(&value);
            writes.0.insert([self.prefix.as_slice(), &key].concat(), value);
        }
        (before, after)
    }
}

impl Rows for CopyRows<'_> {
    fn row(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.rows.row(&[self.prefix.as_slice(), key].concat())
    }
}

/// Length before id: no copy's rows begin with the prefix of another's.
fn prefix(group_id: &[u8], epoch: u64) -> Vec<u8> {
    let length = (group_id.len() as u64).to_be_bytes();
    [b"past-epochs/copy/".as_slice(), &length, group_id, &epoch.to_be_bytes(), b"/"].concat()
}

/// OpenMLS's `GroupEpochSecrets` as it is stored. The types are private there, so their form is written down here; a
/// row of any other form is refused, and the tests hold it to the pinned version.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EpochSecrets {
    init_secret: Held,
    exporter_secret: Held,
    epoch_authenticator: Held,
    external_secret: Held,
    resumption_psk: Held,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Held {
    secret: Secret,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Secret {
    value: Octets,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Octets {
    vec: Vec<u8>,
}

impl Drop for Octets {
    fn drop(&mut self) {
        self.vec.zeroize();
    }
}

/// OpenMLS's `ResumptionPskStore` as it is stored.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ResumptionPsks {
    max_number_of_secrets: usize,
    resumption_psk: Vec<(u64, Held)>,
    cursor: usize,
}

impl Held {
    fn overwrite(&mut self) {
        self.secret.value.vec.fill(0);
    }
}

fn overwritten_secrets(row: &[u8]) -> Result<Vec<u8>, GroupError> {
    let mut secrets: EpochSecrets = ciborium::from_reader(row).map_err(|_| GroupError::BadRow)?;
    for secret in [
        &mut secrets.init_secret,
        &mut secrets.exporter_secret,
        &mut secrets.epoch_authenticator,
        &mut secrets.external_secret,
        &mut secrets.resumption_psk,
    ] {
        secret.overwrite();
    }
    to_cbor(&secrets).map_err(|_| GroupError::BadRow)
}

fn no_psks(row: &[u8]) -> Result<Vec<u8>, GroupError> {
    let psks: ResumptionPsks = ciborium::from_reader(row).map_err(|_| GroupError::BadRow)?;
    to_cbor(&ResumptionPsks { resumption_psk: Vec::new(), cursor: 0, ..psks }).map_err(|_| GroupError::BadRow)
}
