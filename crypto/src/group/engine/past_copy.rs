//! A read-only copy of one epoch: opens the late messages of its epoch and nothing later.
//!
//! A full copy and the public commits would open every later epoch up to our own next path. So the copy has no key pair
//! of leaf or path and no pending commit, and its init, exporter, external and resumption secrets are overwritten. What
//! stays are the message keys of the epoch and its public state, by which signatures are checked.

use super::super::overlay::{
    CONFIRMATION_TAG, CONTEXT, EPOCH_SECRETS, GROUP_STATE, INTERIM_TRANSCRIPT_HASH, JOIN_CONFIG, MESSAGE_SECRETS,
    OWN_LEAF_INDEX, RESUMPTION_PSKS, TREE, read, row_key, written,
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
    copied.push((key, written(&MlsGroupState::Operational).map_err(|_| GroupError::BadRow)?));
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
    let mut secrets: EpochSecrets = read(row).map_err(|_| GroupError::BadRow)?;
    for secret in [
        &mut secrets.init_secret,
        &mut secrets.exporter_secret,
        &mut secrets.epoch_authenticator,
        &mut secrets.external_secret,
        &mut secrets.resumption_psk,
    ] {
        secret.overwrite();
    }
    written(&secrets).map_err(|_| GroupError::BadRow)
}

fn no_psks(row: &[u8]) -> Result<Vec<u8>, GroupError> {
    let psks: ResumptionPsks = read(row).map_err(|_| GroupError::BadRow)?;
    written(&ResumptionPsks { resumption_psk: Vec::new(), cursor: 0, ..psks }).map_err(|_| GroupError::BadRow)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::super::super::overlay::{EPOCH_KEY_PAIRS, Provider};
    use super::super::super::{Change, GroupEngine as _, commit_view};
    use super::super::load;
    use super::super::tests::{Store, bob_and_commits};
    use super::*;

    fn follows(rows: &dyn Rows, commit: &[u8]) -> bool {
        let provider = Provider::new(rows);
        let mut group = load(&provider, b"group").unwrap();
        group.process_message(&provider, commit_view::read_commit(commit).unwrap()).is_ok()
    }

    #[test]
    fn a_copy_cannot_follow_the_next_commit() {
        let (_, bobs, commits) = bob_and_commits(1);
        assert!(follows(&bobs, &commits[0]), "the rows themselves follow");
        let mut writes = WriteSet::default();
        copy(&bobs, &mut writes, b"group", 1).unwrap();
        let mut copied = Store::new();
        writes.apply_to(&mut copied);
        let held = CopyRows::new(&copied, b"group", 1);
        assert!(!follows(&held, &commits[0]), "their copy does not");
        assert!(
            copied.keys().all(|key| !key.windows(EPOCH_KEY_PAIRS.len()).any(|part| part == EPOCH_KEY_PAIRS.as_bytes()))
        );

        // Whoever steals the copy may have the key pairs from elsewhere, an old backup: the secrets alone keep it out.
        let mut stolen = bobs.clone();
        for table in COPIED.into_iter().chain(OVERWRITTEN) {
            let key = row_key(table, &GroupId::from_slice(b"group")).unwrap();
            stolen.insert(key.clone(), held.row(&key).unwrap());
        }
        assert!(!follows(&stolen, &commits[0]), "not with the private keys of leaf and path either");
    }

    #[test]
    fn a_copy_holds_no_pending_commit() {
        let (mut bob, mut bobs, _) = bob_and_commits(0);
        let (_, writes) = bob.commit(&bobs, b"group", &Change::default()).unwrap();
        writes.apply_to(&mut bobs);
        let mut writes = WriteSet::default();
        copy(&bobs, &mut writes, b"group", 1).unwrap();
        let mut copied = Store::new();
        writes.apply_to(&mut copied);
        let held = CopyRows::new(&copied, b"group", 1);
        let group = load(&Provider::new(&held), b"group").unwrap();
        assert!(group.pending_commit().is_none(), "a pending commit holds the secrets of the next epoch");
        assert!(load(&Provider::new(&bobs), b"group").unwrap().pending_commit().is_some(), "the rows still hold it");
    }

    #[test]
    fn the_form_of_openmls_secrets_is_the_one_written_down_here() {
        let (_, bobs, _) = bob_and_commits(0);
        let group = GroupId::from_slice(b"group");
        let row = bobs[&row_key(EPOCH_SECRETS, &group).unwrap()].clone();
        let secrets: EpochSecrets = read(row.as_slice()).unwrap();
        assert_eq!(written(&secrets).unwrap(), row, "read and written again it is the same row");
        let value = |held: &Held| held.secret.value.vec.clone();
        assert!(value(&secrets.init_secret).iter().any(|byte| *byte != 0), "OpenMLS holds a secret");
        let blank: EpochSecrets = read(&overwritten_secrets(&row).unwrap()).unwrap();
        for held in [
            &blank.init_secret,
            &blank.exporter_secret,
            &blank.epoch_authenticator,
            &blank.external_secret,
            &blank.resumption_psk,
        ] {
            assert_eq!(value(held), vec![0; 32], "the copy holds none");
        }
        let mut other: ciborium::Value = read(row.as_slice()).unwrap();
        other.as_map_mut().unwrap().push(("another_secret".into(), ciborium::Value::Null));
        let refused = overwritten_secrets(&written(&other).unwrap());
        assert_eq!(refused, Err(GroupError::BadRow), "a secret that is not known here is not copied blindly");
        let psks = bobs[&row_key(RESUMPTION_PSKS, &group).unwrap()].clone();
        let held: ResumptionPsks = read(psks.as_slice()).unwrap();
        assert_eq!(written(&held).unwrap(), psks, "the resumption secrets, too");
        let left: ResumptionPsks = read(no_psks(&psks).unwrap().as_slice()).unwrap();
        assert!(left.resumption_psk.is_empty(), "and none of them stays");
    }
}
