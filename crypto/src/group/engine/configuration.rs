//! What every group and leaf of Roost is configured with.

use super::super::public::SUITE;
use super::super::{CONV_STATE_EXTENSION, FORWARD_DISTANCE_MAX, GroupError, OUT_OF_ORDER_TOLERANCE};
use openmls::prelude::{
    Capabilities, CredentialType, Extension, ExtensionType, Extensions, GroupContext, MlsGroupJoinConfig,
    PURE_PLAINTEXT_WIRE_FORMAT_POLICY, RequiredCapabilitiesExtension, SenderRatchetConfiguration, UnknownExtension,
};

/// Application messages are padded to a multiple of this, in bytes.
pub(super) const PADDING_BYTES: usize = 256;

pub(super) fn capabilities() -> Capabilities {
    let extensions = [ExtensionType::LastResort, ExtensionType::Unknown(CONV_STATE_EXTENSION)];
    Capabilities::new(None, Some(&[SUITE]), Some(&extensions), None, Some(&[CredentialType::Basic]))
}

pub(super) fn context_extensions(conv_state: &[u8]) -> Result<Extensions<GroupContext>, GroupError> {
    let required = RequiredCapabilitiesExtension::new(
        &[ExtensionType::Unknown(CONV_STATE_EXTENSION)],
        &[],
        &[CredentialType::Basic],
    );
    Extensions::from_vec(vec![Extension::RequiredCapabilities(required), conv_state_extension(conv_state)])
        .map_err(|_| GroupError::Engine)
}

pub(super) fn ratchet_configuration() -> SenderRatchetConfiguration {
    SenderRatchetConfiguration::new(OUT_OF_ORDER_TOLERANCE, FORWARD_DISTANCE_MAX)
}

pub(super) fn join_configuration() -> MlsGroupJoinConfig {
    MlsGroupJoinConfig::builder()
        .wire_format_policy(PURE_PLAINTEXT_WIRE_FORMAT_POLICY)
        .padding_size(PADDING_BYTES)
        .max_past_epochs(0)
        .sender_ratchet_configuration(ratchet_configuration())
        .use_ratchet_tree_extension(false)
        .build()
}

/// The extension that carries `conv_state`.
pub(super) fn conv_state_extension(conv_state: &[u8]) -> Extension {
    Extension::Unknown(CONV_STATE_EXTENSION, UnknownExtension(conv_state.to_vec()))
}
