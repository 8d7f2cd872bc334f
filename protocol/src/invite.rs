//! An invite: a token that admits to sign-up. Its holder proves that it has it; the token itself never travels.
//!
//! Implements `docs/protocol.md`, section "Between device and home".

use roost_crypto::bytes::Bytes;
use roost_crypto::codec;
use roost_crypto::ids::{AccountId, NodeId};
use roost_crypto::keys::{PublicKey, SecretKey, Signature};
use roost_crypto::labels;
use serde::{Deserialize, Serialize};

/// Shown with a sign-up: the invite's key, and that its holder wants to sign up this account, at this node, on this connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct InviteProof {
    /// By [`invite_key`].
    pub key: PublicKey,
    /// Over the CBOR array `[node, challenge, account]`.
    pub signature: Signature,
}

/// What a node keeps of an invite.
#[must_use]
pub fn invite_key(token: &str) -> PublicKey {
    secret_of(token).public_key()
}

impl InviteProof {
    /// Proves possession of `token`.
    #[must_use]
    pub fn new(token: &str, node: &NodeId, challenge: &[u8], account: &AccountId) -> Self {
        let secret = secret_of(token);
        let signature = secret.sign(labels::SIGN_INVITE, &signed_bytes(node, challenge, account));
        Self { key: secret.public_key(), signature }
    }

    /// Whether it was made for this node, connection and account.
    #[must_use]
    pub fn fits(&self, node: &NodeId, challenge: &[u8], account: &AccountId) -> bool {
        self.key.verify(labels::SIGN_INVITE, &signed_bytes(node, challenge, account), &self.signature).is_ok()
    }
}

fn secret_of(token: &str) -> SecretKey {
    SecretKey::from_seed(&labels::hash(labels::INVITE, &[token.as_bytes()]))
}

fn signed_bytes(node: &NodeId, challenge: &[u8], account: &AccountId) -> Vec<u8> {
    codec::encode(&(node, Bytes(challenge.to_vec()), account))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_is_good_for_one_node_connection_and_account() {
        let node = |seed| NodeId::of(SecretKey::from_seed(&[seed; 32]).public_key());
        let (here, there, alice, eve) = (node(1), node(2), AccountId([3; 32]), AccountId([4; 32]));
        let proof = InviteProof::new("token", &here, b"challenge", &alice);
        assert_eq!(proof.key, invite_key("token"), "the node finds the invite by it");
        assert!(proof.fits(&here, b"challenge", &alice), "it is good where it was made for");
        assert!(!proof.fits(&there, b"challenge", &alice), "not at another node");
        assert!(!proof.fits(&here, b"replayed", &alice), "not on another connection");
        assert!(!proof.fits(&here, b"challenge", &eve), "not for another account");
        let stolen = InviteProof { key: invite_key("other"), ..proof };
        assert!(!stolen.fits(&here, b"challenge", &alice), "not for another invite");
    }
}
