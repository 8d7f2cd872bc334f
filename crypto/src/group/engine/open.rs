//! Opening application messages, of the group's epoch and of kept ones.

use super::super::former::Former;
use super::super::overlay::Provider;
use super::super::{
    CIPHERTEXT_MAX_BYTES, CREDENTIAL_MAX_BYTES, GroupError, Opened, Part, Rows, WriteSet, past_epochs, public,
};
use super::refusals::refused_message;
use super::{OpenMlsEngine, load, past_copy};
use crate::codec;
use openmls::prelude::{
    BasicCredential, ContentType, MlsGroup, MlsMessageBodyIn, ProcessedMessageContent, ProtocolMessage,
};

impl OpenMlsEngine {
    /// See [`GroupEngine::open`](super::GroupEngine::open).
    pub(super) fn open_message(
        &self,
        rows: &dyn Rows,
        group_id: &[u8],
        ciphertext: &[u8],
    ) -> Result<(Opened, WriteSet), GroupError> {
        let message = match public::message(Part::Ciphertext, ciphertext, CIPHERTEXT_MAX_BYTES)? {
            MlsMessageBodyIn::PrivateMessage(message) => ProtocolMessage::from(message),
            MlsMessageBodyIn::PublicMessage(_) => return Err(GroupError::NotApplication),
            _ => return Err(GroupError::Malformed(Part::Ciphertext)),
        };
        let got = message.epoch().as_u64();
        let is_of_group = message.group_id().as_slice() == group_id;
        if let Some(former) = Former::read(rows, group_id)? {
            return match got {
                _ if !is_of_group => Err(GroupError::WrongGroup),
                got if got < former.epoch => open_kept(rows, group_id, message, got),
                _ => Err(GroupError::Removed),
            };
        }
        let provider = Provider::new(rows);
        let mut working = self.begin(&provider, rows, group_id)?;
        let expected = working.group.epoch().as_u64();
        if is_of_group && got == expected {
            let opened = process(&provider, &mut working.group, message)?;
            return Ok((opened, self.end(provider, rows, working)?));
        }
        self.hold(working);
        match got {
            _ if !is_of_group => Err(GroupError::WrongGroup),
            got if got < expected => open_kept(rows, group_id, message, got),
            got => Err(GroupError::WrongEpoch { expected, got }),
        }
    }
}

/// Opens a message by the copy of its epoch, whose ratchet moves on in the write set.
fn open_kept(
    rows: &dyn Rows,
    group_id: &[u8],
    message: ProtocolMessage,
    epoch: u64,
) -> Result<(Opened, WriteSet), GroupError> {
    if !past_epochs::is_kept(rows, group_id, epoch)? {
        return Err(GroupError::EpochGone { epoch });
    }
    let copy = past_copy::CopyRows::new(rows, group_id, epoch);
    let provider = Provider::new(&copy);
    // A listed copy without its rows is damage, not an unknown group.
    let mut group = load(&provider, group_id).map_err(|_| GroupError::BadRow)?;
    let opened = process(&provider, &mut group, message)?;
    let mut writes = WriteSet::default();
    let sizes = copy.writes_of(provider.finish(), &mut writes);
    past_epochs::resize(rows, &mut writes, group_id, epoch, sizes)?;
    Ok((opened, writes))
}

fn process(provider: &Provider<'_>, group: &mut MlsGroup, message: ProtocolMessage) -> Result<Opened, GroupError> {
    if message.content_type() != ContentType::Application {
        return Err(GroupError::NotApplication);
    }
    let epoch = message.epoch().as_u64();
    let processed = group.process_message(provider, message).map_err(refused_message)?;
    let sender = BasicCredential::try_from(processed.credential().clone()).map_err(|_| GroupError::BadCredential)?;
    let sender =
        codec::decode_canonical(sender.identity(), CREDENTIAL_MAX_BYTES).map_err(|_| GroupError::BadCredential)?;
    match processed.into_content() {
        ProcessedMessageContent::ApplicationMessage(message) => {
            Ok(Opened { sender, epoch, plaintext: message.into_bytes() })
        }
        ProcessedMessageContent::OwnPrivateMessage => Err(GroupError::OwnMessage),
        _ => Err(GroupError::NotApplication),
    }
}
