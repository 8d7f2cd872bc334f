//! The syntax of handles and of organisations' names.
//!
//! Syntax only: whether the organisation gives the handle to the account is the handle record's word.

use super::{HANDLE_LOCAL_MAX, ORG_NAME_MAX};

/// Why a handle or a name is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandleError {
    /// No `@` between the two halves.
    #[error("expected local@org, got no @")]
    NoAt,
    /// The half before the `@` has a wrong length.
    #[error("expected 1 to {HANDLE_LOCAL_MAX} bytes before the @, got {got}")]
    LocalLength {
        /// Its bytes.
        got: usize,
    },
    /// The organisation's name has a wrong length.
    #[error("expected an organisation name of 1 to {ORG_NAME_MAX} bytes, got {got}")]
    OrgNameLength {
        /// Its bytes.
        got: usize,
    },
    /// A character that neither half may have.
    #[error("expected only a-z, 0-9, '.', '_' and '-', got {got:?}")]
    Character {
        /// The character.
        got: char,
    },
    /// A half that does not begin and end with a letter or a digit: too easily overlooked.
    #[error("each half begins and ends with a letter or a digit")]
    Edge,
}

/// Checks `local@org`: lower-case `[a-z0-9._-]` with a letter or digit at each end, 1 to 32 before the `@`, 1 to 64 behind it.
///
/// # Errors
/// [`HandleError`].
pub fn check_handle(handle: &str) -> Result<(), HandleError> {
    split_handle(handle).map(|_| ())
}

/// Checks the name of an organisation: lower-case `[a-z0-9._-]`, 1 to 64.
///
/// # Errors
/// [`HandleError::OrgNameLength`], [`HandleError::Character`].
pub fn check_org_name(name: &str) -> Result<(), HandleError> {
    if !(1..=ORG_NAME_MAX).contains(&name.len()) {
        return Err(HandleError::OrgNameLength { got: name.len() });
    }
    check_characters(name)
}

/// The two halves of a handle, checked as by [`check_handle`]: what stands before the `@`, and the organisation's name.
///
/// # Errors
/// [`HandleError`].
pub fn split_handle(handle: &str) -> Result<(&str, &str), HandleError> {
    let (local, org_name) = handle.split_once('@').ok_or(HandleError::NoAt)?;
    if !(1..=HANDLE_LOCAL_MAX).contains(&local.len()) {
        return Err(HandleError::LocalLength { got: local.len() });
    }
    check_characters(local)?;
    check_org_name(org_name)?;
    Ok((local, org_name))
}

fn check_characters(text: &str) -> Result<(), HandleError> {
    let allowed = |character: char| matches!(character, 'a'..='z' | '0'..='9' | '.' | '_' | '-');
    match text.chars().find(|character| !allowed(*character)) {
        Some(got) => Err(HandleError::Character { got }),
        None if text.starts_with(['.', '_', '-']) || text.ends_with(['.', '_', '-']) => Err(HandleError::Edge),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alice_takes_a_handle_and_eve_does_not_get_a_look_alike() {
        assert_eq!(split_handle("alice@acme.example"), Ok(("alice", "acme.example")), "a plain handle has two halves");
        assert_eq!(check_handle(&format!("{}@{}", "a".repeat(32), "b".repeat(64))), Ok(()), "the longest halves fit");

        let refused = |handle: &str| check_handle(handle).expect_err("the handle must be refused");
        assert_eq!(refused("alice"), HandleError::NoAt, "a handle names its organisation");
        assert_eq!(refused("@acme.example"), HandleError::LocalLength { got: 0 }, "nobody has no name");
        assert_eq!(refused(&format!("{}@b", "a".repeat(33))), HandleError::LocalLength { got: 33 }, "33 are too many");
        assert_eq!(refused("alice@"), HandleError::OrgNameLength { got: 0 }, "an organisation has a name");
        assert_eq!(
            refused(&format!("a@{}", "b".repeat(65))),
            HandleError::OrgNameLength { got: 65 },
            "65 are too many"
        );
        assert_eq!(refused("Alice@acme.example"), HandleError::Character { got: 'A' }, "one name has one spelling");
        assert_eq!(
            refused("аlice@acme.example"),
            HandleError::Character { got: 'а' },
            "a Cyrillic look-alike is refused"
        );
        assert_eq!(refused("alice@acme@evil"), HandleError::Character { got: '@' }, "there is one @");
    }
}
