//! Errors of OpenMLS as ours.

use super::super::GroupError;
use super::super::overlay::RowError;
use openmls::framing::errors::MessageDecryptionError;
use openmls::prelude::{
    CreationFromExternalError, ExternalCommitBuilderError, ProcessMessageError, ValidationError, WelcomeError,
};

pub(super) fn refused_welcome(error: WelcomeError<RowError>) -> GroupError {
    match error {
        WelcomeError::NoMatchingKeyPackage | WelcomeError::JoinerSecretNotFound => GroupError::NoKeyPackage,
        WelcomeError::GroupAlreadyExists => GroupError::GroupExists,
        WelcomeError::StorageError(_) => GroupError::BadRow,
        _ => GroupError::InvalidWelcome,
    }
}

pub(super) fn refused_message(error: ProcessMessageError<RowError>) -> GroupError {
    match error {
        ProcessMessageError::StorageError(_) => GroupError::BadRow,
        ProcessMessageError::ValidationError(ValidationError::UnableToDecrypt(
            MessageDecryptionError::SecretTreeError(error),
        )) => refused_generation(&format!("{error:?}")),
        _ => GroupError::Undecryptable,
    }
}

/// OpenMLS does not export the type of these errors, so they are told apart by name. The version is pinned and the
/// tests know each of them.
pub(super) fn refused_generation(name: &str) -> GroupError {
    match name {
        "SecretReuseError" => GroupError::AlreadyOpened,
        "TooDistantInThePast" => GroupError::TooOld,
        "TooDistantInTheFuture" => GroupError::TooFarAhead,
        _ => GroupError::Undecryptable,
    }
}

/// The commit fits the public state, so what fails here are our own keys or our lost pending commit.
pub(super) fn refused_merge(error: ProcessMessageError<RowError>) -> GroupError {
    match error {
        ProcessMessageError::StorageError(_) => GroupError::BadRow,
        _ => GroupError::RejoinNeeded,
    }
}

/// A GroupInfo and tree that no external commit can be made from.
pub(super) fn refused_external(error: ExternalCommitBuilderError<RowError>) -> GroupError {
    match error {
        ExternalCommitBuilderError::PublicGroupError(CreationFromExternalError::DuplicateSignatureKey) => {
            GroupError::DuplicateMember
        }
        ExternalCommitBuilderError::StorageError(_) => GroupError::BadRow,
        _ => GroupError::InvalidGroupInfo,
    }
}
