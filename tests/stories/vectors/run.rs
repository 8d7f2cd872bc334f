//! What the real code makes of a vector.

use super::cast::{fixed, hex, unhex};
use super::{Outcome, Vector, commits, live, relay};
use futures::executor::block_on;
use futures::io::Cursor;
use roost_crypto::blobs::{BlobId, SEALED_CHUNK_BYTES, sealed_bytes};
use roost_crypto::files::{FileError, FileKey, FileOpener, FileSealer};
use roost_crypto::identity_log::{HandleError, HomesError, LogError, Relation, check_handle, check_org_name};
use roost_crypto::labels;
use roost_crypto::recovery::{RecoveryCode, RecoveryError};
use roost_crypto::safety_number::SafetyNumber;
use roost_crypto::sealing::{BoxSecretKey, SealError, SealedBox, StoreKey};
use roost_node::network::selection::{Candidate, Choice, choose};
use roost_node::network::{codec as exchange, hello};
use roost_protocol::content::{Content, ContentError, KindError, Whisper, WhisperBody};
use roost_protocol::conversation::{ConversationHead, ConversationState, Leave};
use roost_protocol::equivocation::{Equivocation, EquivocationError, EquivocationProof};
use roost_protocol::feed::{Entry, EntryError, payload_hash};
use roost_protocol::handle::Handle;
use roost_protocol::ids::{ConversationId, GroupId, Hash, MessageId};
use roost_protocol::peer::{NodeHello, NodeRequest};
use roost_protocol::records::{HandleRecord, RecordError, RecordKey, VerifiedRecord};
use roost_protocol::socket::{ClientFrame, verify_sign_in};
use roost_protocol::succession::{Succession, SuccessionError, follow_lineage};
use roost_protocol::wide::{Entries, Topic, WideError};
use roost_protocol::{
    AccountId, DeviceId, NodeId, OrgId, PublicKey, Signature, Signed, SignedError, VerifiedLog, codec, limits,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

type Given = Map<String, Value>;

/// Runs a vector.
pub fn run(vector: &Vector) -> Outcome {
    let given = &vector.given;
    match vector.kind.as_str() {
        "hash" => hash(given),
        "canonical" => canonical(given),
        "frame" => frame(given),
        "exchange" => exchanged(given),
        "ids" => ids(given),
        "peer-id" => peer_id(given),
        "signed" => signed(given),
        "identity-log" => identity_log(given),
        "two-logs" => two_logs(given),
        "recovery-code" => recovery_code(given),
        "safety-number" => safety_number(given),
        "sealed-value" => sealed_value(given),
        "sealed-box" => sealed_box(given),
        "file" => file(given),
        "file-seal" => file_seal(given),
        "handle" => handle(given),
        "record" => record(given),
        "select" => select(given),
        "head" => head(given),
        "succession" => succession(given),
        "lineage" => lineage(given),
        "equivocation" => equivocation(given),
        "entry" => entry(given),
        "entries" => entries(given),
        "content" => content(given),
        "hello" => greeting(given),
        "sign-in" => sign_in(given),
        "home" => relay::run(given),
        "creation" => live::creation(given),
        "commit" => commits::run(given),
        "leave" => leave(given),
        "whisper" => whisper(given),
        "key-package" => live::key_package(given),
        other => panic!("{other} is no kind of vector"),
    }
}

fn number(given: &Given, part: &str) -> u64 {
    given[part].as_u64().unwrap_or_else(|| panic!("{part} is a number"))
}

fn text<'a>(given: &'a Given, part: &str) -> &'a str {
    given[part].as_str().unwrap_or_else(|| panic!("{part} is text"))
}

fn key(value: &Value) -> PublicKey {
    PublicKey(fixed(value))
}

fn node(value: &Value) -> NodeId {
    NodeId::of(key(value))
}

fn outcome<T, E>(result: Result<T, E>, accept: impl FnOnce(T) -> Value, cause: impl FnOnce(E) -> String) -> Outcome {
    match result {
        Ok(value) => Outcome::Accept(accept(value)),
        Err(error) => Outcome::refuse(cause(error)),
    }
}

fn hash(given: &Given) -> Outcome {
    let label = text(given, "label");
    let parts: Vec<Vec<u8>> = given["parts"].as_array().unwrap().iter().map(unhex).collect();
    let slices: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    Outcome::Accept(json!({
        "hash": hex(&labels::hash(label, &slices)),
        "signed": hex(&labels::labelled(label, slices.first().copied().unwrap_or_default())),
    }))
}

fn canonical(given: &Given) -> Outcome {
    let bytes = unhex(&given["bytes"]);
    let max = usize::try_from(number(given, "max")).unwrap();
    fn read<T: DeserializeOwned + Serialize>(bytes: &[u8], max: usize) -> Outcome {
        outcome(codec::decode_canonical::<T>(bytes, max), |value| serde_json::to_value(value).unwrap(), codec_cause)
    }
    match text(given, "type") {
        "Signed" => read::<Signed>(&bytes, max),
        "HandleRecord" => read::<HandleRecord>(&bytes, max),
        "ConversationState" => read::<ConversationState>(&bytes, max),
        "Entry" => read::<Entry>(&bytes, max),
        other => panic!("{other} is no type of the vectors"),
    }
}

fn frame(given: &Given) -> Outcome {
    let max = limits::SOCKET_MESSAGE_BYTES_MAX;
    let accept = |frame: ClientFrame| serde_json::to_value(frame).unwrap();
    match text(given, "sub_protocol") {
        roost_protocol::SOCKET_CBOR => {
            outcome(codec::decode::<ClientFrame>(&unhex(&given["message"]), max), accept, codec_cause)
        }
        roost_protocol::SOCKET_JSON => {
            outcome(serde_json::from_str::<ClientFrame>(text(given, "message")), accept, |_| "malformed".into())
        }
        other => panic!("{other} is no sub-protocol"),
    }
}

fn exchanged(given: &Given) -> Outcome {
    let bytes = unhex(&given["bytes"]);
    let read = block_on(exchange::read::<NodeRequest, _>(&mut Cursor::new(bytes))).map(|(request, _)| request);
    outcome(
        read,
        |request| serde_json::to_value(request).unwrap(),
        |error| match error.get_ref().and_then(|inner| inner.downcast_ref::<codec::CodecError>()) {
            Some(cause) => codec_cause(cause.clone()),
            None if error.kind() == std::io::ErrorKind::UnexpectedEof => "short".into(),
            None => "too_long".into(),
        },
    )
}

fn ids(given: &Given) -> Outcome {
    let public = key(&given["key"]);
    let other = AccountId(fixed(&given["other_account"]));
    let account = AccountId::of(&public);
    let at_ms = number(given, "at_ms");
    let content = unhex(&given["content"]);
    let name = text(given, "name");
    let handle: Handle = text(given, "handle").parse().unwrap();
    let org = OrgId::of(&public);
    Outcome::Accept(json!({
        "account": account,
        "device": DeviceId::of(&public),
        "org": org,
        "peer_id": NodeId::of(public).to_string(),
        "peer_id_bytes": hex(&NodeId::of(public).to_peer_id_bytes()),
        "conversation": ConversationId::direct(&account, &other),
        "message": MessageId::of(at_ms, &content),
        "payload_hash": payload_hash(&content),
        "account_key": hex(&RecordKey::Account(account).to_bytes()),
        "org_key": hex(&RecordKey::Org(org).to_bytes()),
        "handle_key": hex(&RecordKey::Handle(handle.key(&org)).to_bytes()),
        "name_key": hex(&RecordKey::of_name(name).to_bytes()),
    }))
}

fn peer_id(given: &Given) -> Outcome {
    outcome(text(given, "text").parse::<NodeId>(), |node| json!({ "key": node.public_key() }), |_| "peer_id".into())
}

fn signed(given: &Given) -> Outcome {
    let signed: Signed = codec::decode_canonical(&unhex(&given["signed"]["value"]), 4096).unwrap();
    let max = usize::try_from(number(given, "max")).unwrap();
    let opened: Result<String, SignedError> = signed.open(text(given, "label"), &key(&given["signed"]["key"]), max);
    outcome(opened, |text| json!({ "text": text }), signed_cause)
}

fn identity_log(given: &Given) -> Outcome {
    outcome(VerifiedLog::decode(&unhex(&given["log"])), |log| log_fields(&log), log_cause)
}

fn log_fields(log: &VerifiedLog) -> Value {
    let devices: Vec<_> =
        log.device_keys().iter().map(|(id, (key, seq))| json!({ "device": id, "key": key, "log_seq": seq })).collect();
    json!({
        "account": log.account(),
        "root": log.root(),
        "devices": devices,
        "homes": log.homes(),
        "handle": log.handle().map(|(handle, org)| json!({ "handle": handle, "org": org })),
        "head": log.head(),
        "count": log.count(),
    })
}

fn two_logs(given: &Given) -> Outcome {
    let read = |part: &str| VerifiedLog::decode(&unhex(&given[part])).unwrap();
    let (held, offered) = (read("held"), read("offered"));
    let relation = match held.relation(&offered) {
        Relation::Same => "same",
        Relation::Extended => "extended",
        Relation::Reset => "reset",
        Relation::Behind => "behind",
        Relation::Branched => "branched",
        Relation::OtherAccount => "other_account",
    };
    let accept = |kept: VerifiedLog| json!({ "relation": relation, "kept": kept.head() });
    outcome(held.supersede(&offered), accept, log_cause)
}

fn recovery_code(given: &Given) -> Outcome {
    let accept = |code: RecoveryCode| {
        json!({
            "text": code.text().as_str(),
            "root_seed": hex(&code.account_key().seed()[..]),
            "root": code.account_key().public_key(),
            "archive_key": hex(&code.archive_key()[..]),
        })
    };
    outcome(RecoveryCode::parse(text(given, "text")), accept, |error| match error {
        RecoveryError::Length { .. } => "length".into(),
        RecoveryError::Character { .. } => "character".into(),
        RecoveryError::Checksum => "checksum".into(),
    })
}

fn safety_number(given: &Given) -> Outcome {
    let number = SafetyNumber::of(&key(&given["one"]), &key(&given["other"]));
    Outcome::Accept(json!({ "shown": number.to_string() }))
}

fn seal_cause(error: SealError) -> String {
    match error {
        SealError::TooShort { .. } => "too_short",
        SealError::Version { .. } => "version",
        SealError::Refused => "tag",
        SealError::SmallOrder => "small_order",
    }
    .into()
}

fn sealed_value(given: &Given) -> Outcome {
    let key = StoreKey::from_bytes(&fixed(&given["key"]));
    let opened = key.open(&unhex(&given["context"]), &unhex(&given["sealed"]));
    outcome(opened, |plain| json!({ "plaintext": hex(&plain) }), seal_cause)
}

fn sealed_box(given: &Given) -> Outcome {
    let key = BoxSecretKey::from_seed(&fixed(&given["seed"]));
    let sealed: SealedBox = codec::decode_canonical(&unhex(&given["box"]), 4096).unwrap();
    let opened = sealed.open(&key, &unhex(&given["context"]));
    outcome(opened, |plain| json!({ "plaintext": hex(&plain) }), seal_cause)
}

fn file(given: &Given) -> Outcome {
    let key = FileKey::from_bytes(&fixed(&given["key"]));
    let mut opener = FileOpener::new(&key, number(given, "size"), BlobId(fixed(&given["blob"])));
    let mut opened = Vec::new();
    let done = opener.write(&unhex(&given["sealed"]), &mut opened).and_then(|()| opener.finish());
    outcome(
        done,
        |()| json!({ "file": hex(&opened) }),
        |error| match error {
            FileError::Length { .. } => "length".into(),
            FileError::Chunk { .. } => "chunk".into(),
            FileError::Padding => "padding".into(),
            FileError::Name => "name".into(),
            FileError::TooLong => "too_long".into(),
        },
    )
}

fn file_seal(given: &Given) -> Outcome {
    let size = number(given, "size");
    let key = FileKey::from_bytes(&fixed(&given["key"]));
    let (mut sealer, mut sealed) = (FileSealer::new(&key, size), Vec::new());
    sealer.write(&super::make::pattern(usize::try_from(size).unwrap()), &mut sealed).unwrap();
    let blob = sealer.finish(&mut sealed).unwrap();
    assert_eq!(sealed.len() as u64, sealed_bytes(size), "as long as was said");
    Outcome::Accept(json!({ "blob": blob, "bytes": sealed.len(), "first_chunk_tag": hex(&tag_of_first(&sealed)) }))
}

/// The tag of the first chunk, by which another implementation sees sooner where it differs.
fn tag_of_first(sealed: &[u8]) -> Vec<u8> {
    let end = sealed.len().min(SEALED_CHUNK_BYTES);
    sealed[end - 16..end].to_vec()
}

fn handle(given: &Given) -> Outcome {
    let text = text(given, "text");
    let checked = check_handle(text).and_then(|()| text.parse::<Handle>());
    outcome(
        checked,
        |handle| json!({ "local": handle.local(), "org": handle.org(), "org_is_name": check_org_name(handle.org()).is_ok() }),
        |error| handle_cause(&error),
    )
}

fn record(given: &Given) -> Outcome {
    let verified = RecordKey::parse(&unhex(&given["key"]))
        .and_then(|key| key.verify(&unhex(&given["value"]), number(given, "now_s")));
    outcome(verified, |record| record_fields(&record), |error| record_cause(&error))
}

fn record_fields(record: &VerifiedRecord) -> Value {
    match record {
        VerifiedRecord::Account(log) => json!({ "account": log_fields(log) }),
        VerifiedRecord::Handle(record) => json!({ "handle": record }),
        VerifiedRecord::Org(record) => json!({ "org": record }),
        VerifiedRecord::Name(claims) => json!({ "name": claims.iter().map(|(claim, _)| claim).collect::<Vec<_>>() }),
    }
}

fn select(given: &Given) -> Outcome {
    let key = RecordKey::parse(&unhex(&given["key"])).unwrap();
    let now_s = number(given, "now_s");
    let read = |part: &str| Candidate::verify(&key, &unhex(&given[part]), now_s).unwrap();
    match choose(&read("held"), &read("offered")) {
        Choice::Equal => Outcome::Accept(json!({ "stands": "equal" })),
        Choice::Offered => Outcome::Accept(json!({ "stands": "offered" })),
        Choice::Merged(merged) => Outcome::Accept(json!({ "stands": "merged", "value": hex(&merged.value) })),
        Choice::Held => Outcome::refuse("older"),
        Choice::Branched => Outcome::refuse("branched"),
    }
}

fn head(given: &Given) -> Outcome {
    let signed: Signed = codec::decode_canonical(&unhex(&given["head"]), 32 * 1024).unwrap();
    outcome(ConversationHead::verify(&signed), |head| serde_json::to_value(head).unwrap(), signed_cause)
}

fn read_signed(value: &Value) -> Signed {
    codec::decode_canonical(&unhex(value), 32 * 1024).unwrap()
}

/// The hub at the end of a change, and its term.
fn hub_at(hub: NodeId, term: u32) -> Value {
    json!({ "hub": hex(hub.public_key().as_bytes()), "term": term })
}

fn succession(given: &Given) -> Outcome {
    let verified = Succession::verify(&read_signed(&given["from"]), &read_signed(&given["head"]));
    outcome(verified, |it| hub_at(it.head().state.hub, it.head().state.term), succession_cause)
}

fn lineage(given: &Given) -> Outcome {
    let heads: Vec<Signed> = given["heads"].as_array().unwrap().iter().map(read_signed).collect();
    let followed = follow_lineage(&GroupId(fixed(&given["group"])), node(&given["first"]), &heads);
    outcome(followed, |(hub, term)| hub_at(hub, term), succession_cause)
}

fn succession_cause(error: SuccessionError) -> String {
    match error {
        SuccessionError::Head(error) => return signed_cause(error),
        SuccessionError::OtherGroup => "other_group",
        SuccessionError::Epoch { .. } => "epoch",
        SuccessionError::NotNamed => "not_named",
        SuccessionError::State => "state",
        SuccessionError::Lineage => "lineage",
        SuccessionError::TooMany { .. } => "too_many",
    }
    .into()
}

fn equivocation(given: &Given) -> Outcome {
    let (head_a, head_b) = (read_signed(&given["head_a"]), read_signed(&given["head_b"]));
    let accept = |proven: Equivocation| hub_at(proven.hub, proven.head.state.term);
    outcome(EquivocationProof { head_a, head_b }.verify(), accept, |error| match error {
        EquivocationError::Head(error) => signed_cause(error),
        EquivocationError::Unrelated => "unrelated".into(),
        EquivocationError::Same => "same".into(),
    })
}

fn entry(given: &Given) -> Outcome {
    let entry: Entry = codec::decode_canonical(&unhex(&given["entry"]), limits::NODE_MESSAGE_BYTES_MAX).unwrap();
    let accept = |()| json!({ "header": entry.header, "hash": entry.header.hash() });
    outcome(entry.check(), accept, |error| entry_cause(&error))
}

fn entry_cause(error: &EntryError) -> String {
    match error {
        EntryError::PayloadTooLarge { .. } => "too_large",
        EntryError::PayloadHash => "payload_hash",
        EntryError::SeqZero => "seq_zero",
    }
    .into()
}

fn entries(given: &Given) -> Outcome {
    let read = Entries::of_message(text(given, "topic"), &node(&given["source"]), &unhex(&given["data"]));
    let accept = |(_, read): (Topic, Entries)| {
        let feed = read.feed().unwrap();
        let seqs: Vec<_> = read.entries().iter().map(|entry| entry.header.seq).collect();
        let topic = Topic::of(&feed.group, &Hash(fixed(&given["made_by"]))).to_string();
        json!({ "group": feed.group, "seqs": seqs, "topic": topic })
    };
    outcome(read, accept, |error| match error {
        WideError::Topic => "topic".into(),
        WideError::Codec(error) => codec_cause(error),
        WideError::Count { .. } => "count".into(),
        WideError::Kind => "kind".into(),
        WideError::Apart => "apart".into(),
        WideError::Foreign => "foreign".into(),
        WideError::Entry(error) => entry_cause(&error),
    })
}

fn content(given: &Given) -> Outcome {
    let bytes = unhex(&given["content"]);
    let message = MessageId(fixed(&given["message"]));
    match Content::decode(&bytes) {
        Err(ContentError::Codec(error)) => Outcome::refuse(codec_cause(error)),
        Err(ContentError::Kind(KindError::TooLong { .. })) => Outcome::refuse("too_long"),
        Err(ContentError::Kind(_)) => Outcome::refuse("malformed"),
        Ok(_) if !message.fits(&bytes) => Outcome::refuse("message_id"),
        Ok(content) => Outcome::Accept(json!({
            "at_ms": message.at_ms(),
            "kind": content.body.kind(),
            "content": serde_json::to_value(&content).unwrap(),
        })),
    }
}

fn leave(given: &Given) -> Outcome {
    let signed: Signed = codec::decode_canonical(&unhex(&given["leave"]), limits::DHT_VALUE_BYTES_MAX).unwrap();
    let log = VerifiedLog::decode(&unhex(&given["log"])).unwrap();
    outcome(Leave::verify(&signed, &log), |leave| serde_json::to_value(leave).unwrap(), signed_cause)
}

fn whisper(given: &Given) -> Outcome {
    let read = Whisper::decode(&unhex(&given["content"]));
    let kind = |body: &WhisperBody| match body {
        WhisperBody::Typing(_) => "typing".to_owned(),
        WhisperBody::Presence(_) => "presence".to_owned(),
        WhisperBody::Watch(_) => "watch".to_owned(),
        WhisperBody::Unknown { kind } => kind.clone(),
    };
    outcome(read, |whisper| json!({ "sent_at": whisper.sent_at, "kind": kind(&whisper.body) }), codec_cause)
}

fn greeting(given: &Given) -> Outcome {
    let hello: NodeHello = codec::decode(&unhex(&given["hello"]), limits::NODE_MESSAGE_BYTES_MAX).unwrap();
    match hello::check(&node(&given["peer"]), &hello, number(given, "now_s")) {
        Ok(record) => Outcome::Accept(json!({ "org": record })),
        Err(refusal) => relay::refused(&refusal),
    }
}

fn sign_in(given: &Given) -> Outcome {
    let account = AccountId(fixed(&given["account"]));
    let device = DeviceId(fixed(&given["device"]));
    let signature = Signature(fixed(&given["signature"]));
    let challenge = unhex(&given["challenge"]);
    let node = node(&given["node"]);
    if verify_sign_in(&key(&given["device_key"]), &node, &challenge, &account, &device, &signature) {
        Outcome::Accept(json!({ "signed_in": true }))
    } else {
        Outcome::refuse("bad_sign_in")
    }
}

pub fn codec_cause(error: codec::CodecError) -> String {
    match error {
        codec::CodecError::TooLong { .. } => "too_long",
        codec::CodecError::Malformed(_) => "malformed",
        codec::CodecError::Trailing(_) => "trailing",
        codec::CodecError::NotCanonical => "not_canonical",
    }
    .into()
}

fn signed_cause(error: SignedError) -> String {
    match error {
        SignedError::Signature(_) => "signature".into(),
        SignedError::Codec(error) => codec_cause(error),
    }
}

fn handle_cause(error: &HandleError) -> String {
    match error {
        HandleError::NoAt => "no_at",
        HandleError::LocalLength { .. } => "local_length",
        HandleError::OrgNameLength { .. } => "org_name_length",
        HandleError::Character { .. } => "character",
        HandleError::Edge => "edge",
    }
    .into()
}

fn log_cause(error: LogError) -> String {
    match error {
        LogError::TooLong { .. } => "too_long".into(),
        LogError::Malformed(error) => codec_cause(error),
        LogError::Empty => "empty".into(),
        LogError::MalformedEntry { error, .. } => format!("entry_{}", codec_cause(error)),
        LogError::Signature { .. } => "signature".into(),
        LogError::GenesisMissing { .. } => "genesis_missing".into(),
        LogError::GenesisRepeated { .. } => "genesis_repeated".into(),
        LogError::GenesisSigner => "genesis_signer".into(),
        LogError::DeviceIsRoot => "device_is_root".into(),
        LogError::Seq { .. } => "seq".into(),
        LogError::Prev { .. } => "prev".into(),
        LogError::SignerNotActive { .. } => "signer_not_active".into(),
        LogError::ResetRepeated { .. } => "reset_repeated".into(),
        LogError::ResetSigner => "reset_signer".into(),
        LogError::ResetNumber { .. } => "reset_number".into(),
        LogError::DeviceRepeated { .. } => "device_repeated".into(),
        LogError::DeviceCount { .. } => "device_count".into(),
        LogError::DeviceNotActive { .. } => "device_not_active".into(),
        LogError::LastDevice { .. } => "last_device".into(),
        LogError::Homes(HomesError::Count { .. }) => "homes_count".into(),
        LogError::Homes(HomesError::Repeated) => "homes_repeated".into(),
        LogError::Homes(HomesError::Unsupported { .. }) => "homes_unsupported".into(),
        LogError::Handle(error) => handle_cause(&error),
        LogError::Branched { .. } => "branched".into(),
        LogError::OtherAccount => "other_account".into(),
    }
}

fn record_cause(error: &RecordError) -> String {
    match error {
        RecordError::Key => "key".into(),
        RecordError::Codec(error) => codec_cause(error.clone()),
        RecordError::Signature(_) => "signature".into(),
        RecordError::Log(error) => log_cause(error.clone()),
        RecordError::OtherKey => "other_key".into(),
        RecordError::Expired { .. } => "expired".into(),
        RecordError::LivesTooLong(_) => "lives_too_long".into(),
        RecordError::SeqZero => "seq_zero".into(),
        RecordError::Count { .. } => "count".into(),
        RecordError::Name => "name".into(),
    }
}
