//! What a screen shows: plain objects, the same fields as the core's reports.

use crate::device::Device;
use crate::failure::{Failure, to_js};
use roost_client::Error;
use roost_client::core::history::HistoryItem;
use roost_client::core::people::Whom;
use roost_client::core::{ConversationReport, PresenceReport, Recipient, Warning};
use roost_crypto::bytes::Bytes;
use roost_crypto::safety_number::SafetyNumber;
use roost_protocol::AccountId;
use roost_protocol::handle::Handle;
use roost_protocol::ids::{ConversationId, MessageId};
use serde::Serialize;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher as _};
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

/// A conversation of the list.
#[derive(Serialize)]
struct Conversation {
    /// Its id.
    id: String,
    /// What `send` takes for it: a handle, an account or a conversation.
    to: String,
    /// The other's account, where there is one other.
    account: Option<String>,
    /// What the other, or the conversation, wants to be called.
    name: Option<String>,
    /// Which picture it is shown as; the picture itself is `pictureOf`.
    picture: Option<String>,
    unread: usize,
    /// Those of them that mention us.
    mentioned: usize,
    expires_after_s: Option<u64>,
    newest: Option<HistoryItem>,
    blocked: bool,
    verified: bool,
    key_changed: bool,
    typing: Vec<String>,
    presence: Option<PresenceReport>,
    draft: Option<String>,
    /// What is wrong with it.
    warnings: Vec<Warning>,
    /// Of many.
    group: Option<ConversationReport>,
}

/// Messages of a conversation, newest first.
#[derive(Serialize)]
struct Page {
    items: Vec<HistoryItem>,
    before: Option<String>,
}

/// Messages of a conversation from one on, newest first.
#[derive(Serialize)]
struct Stretch {
    items: Vec<HistoryItem>,
    /// Whether there are newer ones.
    more: bool,
}

/// Somebody of whom nothing is shown.
#[derive(Serialize)]
struct Blocked {
    account: String,
    name: String,
}

/// Names a picture: another one is called otherwise.
fn named(picture: Option<Bytes>) -> Option<String> {
    picture.map(|picture| {
        let mut hasher = DefaultHasher::new();
        hasher.write(picture.as_slice());
        format!("{:016x}", hasher.finish())
    })
}

fn refused(error: impl Into<Failure>) -> JsValue {
    error.into().into()
}

#[wasm_bindgen]
impl Device {
    /// What the device says of itself.
    pub fn status(&self) -> JsValue {
        to_js(&self.core.status())
    }

    /// Conversations, newest first.
    ///
    /// # Errors
    /// `internal`.
    pub fn conversations(&self) -> Result<JsValue, JsValue> {
        Ok(to_js(&self.list().map_err(refused)?))
    }

    /// Up to `max` messages older than `before`, newest first: `{items, before}`.
    ///
    /// # Errors
    /// `unknown_person`, `unknown_conversation`.
    pub fn history(&self, of: &str, before: Option<String>, max: usize) -> Result<JsValue, JsValue> {
        let of: Recipient = of.parse().map_err(refused)?;
        let before: Option<MessageId> =
            before.map(|id| id.parse().map_err(|_| Failure::argument("no id of a message"))).transpose()?;
        let page = match self.core.history(Some(&of), before, max) {
            // Begun, and nothing was said yet.
            Err(Error::UnknownConversation | Error::UnknownPerson) => {
                return Ok(to_js(&Page { items: Vec::new(), before: None }));
            }
            page => page.map_err(refused)?,
        };
        Ok(to_js(&Page { items: page.items, before: page.before.map(|id| id.to_string()) }))
    }

    /// Up to `max` messages from `from` on, newest first: `{items, more}`.
    ///
    /// # Errors
    /// `unknown_person`, `unknown_conversation`.
    #[wasm_bindgen(js_name = historyFrom)]
    pub fn history_from(&self, of: &str, from: &str, max: usize) -> Result<JsValue, JsValue> {
        let of: Recipient = of.parse().map_err(refused)?;
        let from: MessageId = from.parse().map_err(|_| Failure::argument("no id of a message"))?;
        let (items, more) = self.core.history_from(&of, from, max).map_err(refused)?;
        Ok(to_js(&Stretch { items, more }))
    }

    /// Messages that hold every word, newest first, of one conversation or of all: `{items, all}`. It finds among what
    /// `prepareSearch` has read.
    ///
    /// # Errors
    /// `unknown_person`, `unknown_conversation`.
    pub fn search(&mut self, text: &str, of: Option<String>, max: usize) -> Result<JsValue, JsValue> {
        let of: Option<Recipient> = of.map(|of| of.parse()).transpose().map_err(refused)?;
        Ok(to_js(&self.core.search(text, of.as_ref(), max).map_err(refused)?))
    }

    /// The picture of an account, of this one too.
    ///
    /// # Errors
    /// `internal`.
    #[wasm_bindgen(js_name = pictureOf)]
    pub fn picture_of(&self, account: &str) -> Result<Option<Vec<u8>>, JsValue> {
        let account: AccountId = account.parse().map_err(|_| Failure::argument("no id of an account"))?;
        let picture = match account == self.core.account() {
            true => self.core.own_picture(),
            false => self.core.picture_of(&account),
        };
        Ok(picture.map_err(refused)?.map(|picture| picture.0))
    }

    /// The picture of a conversation of many.
    ///
    /// # Errors
    /// `internal`.
    #[wasm_bindgen(js_name = aboutPicture)]
    pub fn about_picture(&self, id: &str) -> Result<Option<Vec<u8>>, JsValue> {
        let id: ConversationId = id.parse().map_err(|_| Failure::argument("no id of a conversation"))?;
        Ok(self.core.about_picture(&id).map_err(refused)?.map(|picture| picture.0))
    }

    /// Which pictures accounts have: their ids with the names of their pictures.
    ///
    /// # Errors
    /// `internal`.
    pub fn pictures(&self, accounts: Vec<String>) -> Result<JsValue, JsValue> {
        let mut found = BTreeMap::new();
        for id in accounts {
            let account: AccountId = id.parse().map_err(|_| Failure::argument("no id of an account"))?;
            let picture = match account == self.core.account() {
                true => self.core.own_picture(),
                false => self.core.picture_of(&account),
            };
            if let Some(name) = named(picture.map_err(refused)?) {
                found.insert(id, name);
            }
        }
        Ok(to_js(&found))
    }

    /// Those of whom nothing is shown: `{account, name}`.
    ///
    /// # Errors
    /// `internal`.
    pub fn blocked(&self) -> Result<JsValue, JsValue> {
        let people = self.core.blocked().map_err(refused)?;
        let people = people.into_iter().map(|(account, name)| Blocked { account: account.to_string(), name });
        Ok(to_js(&people.collect::<Vec<_>>()))
    }

    /// What somebody wrote, for whoever judges a complaint: `{account, from, root, messages}`. It goes to nobody by this.
    ///
    /// # Errors
    /// `unknown_person`.
    pub fn evidence(&self, who: &str) -> Result<JsValue, JsValue> {
        let who: Whom = who.parse().map_err(refused)?;
        let account = self.core.whom(&who).map_err(refused)?;
        Ok(to_js(&self.core.evidence(&account).map_err(refused)?))
    }

    /// How far a message of ours came; `undefined` if it is none.
    ///
    /// # Errors
    /// `internal`.
    pub fn report(&self, id: &str) -> Result<JsValue, JsValue> {
        let id: MessageId = id.parse().map_err(|_| Failure::argument("no id of a message"))?;
        Ok(self.core.report(&id).map_err(refused)?.map_or(JsValue::UNDEFINED, |report| to_js(&report)))
    }

    /// Strangers who wrote.
    ///
    /// # Errors
    /// `internal`.
    pub fn requests(&self) -> Result<JsValue, JsValue> {
        Ok(to_js(&self.core.requests().map_err(refused)?))
    }

    /// What the person chose.
    pub fn settings(&self) -> JsValue {
        to_js(self.core.settings())
    }

    /// The devices of the account.
    ///
    /// # Errors
    /// `internal`.
    pub fn devices(&self) -> Result<JsValue, JsValue> {
        Ok(to_js(&self.core.devices().map_err(refused)?))
    }

    /// Who asks with the code that was offered; `undefined` while nobody does.
    #[wasm_bindgen(js_name = linkAsked)]
    pub fn link_asked(&self) -> JsValue {
        self.core.link_asked().map_or(JsValue::UNDEFINED, |report| to_js(&report))
    }

    /// Whether the new device was admitted and answered.
    ///
    /// # Errors
    /// What the home refused.
    #[wasm_bindgen(js_name = linkDone)]
    pub fn link_done(&self) -> Result<bool, JsValue> {
        Ok(self.core.link_done().map_err(refused)?.is_some())
    }

    /// Whether the archive was read to its end.
    #[wasm_bindgen(js_name = hasCaughtUp)]
    pub fn has_caught_up(&self) -> bool {
        self.core.has_caught_up()
    }

    /// The safety number with somebody known: twelve groups of five digits.
    ///
    /// # Errors
    /// `unknown_person`.
    #[wasm_bindgen(js_name = safetyNumber)]
    pub fn safety_number(&self, who: &str) -> Result<String, JsValue> {
        let who: Whom = who.parse().map_err(refused)?;
        let account = match &who {
            Whom::Handle(handle) => self.core.newest_account_of(handle).map_err(refused)?,
            Whom::Account(account) => Some(*account),
        };
        let root = account.map(|account| self.core.root_of(&account)).transpose().map_err(refused)?.flatten();
        let root = root.ok_or_else(|| Failure::from(Error::UnknownPerson))?;
        Ok(SafetyNumber::of(self.core.root(), &root).to_string())
    }

    /// The safety number as a code that their camera reads.
    ///
    /// # Errors
    /// `unknown_person`.
    #[wasm_bindgen(js_name = safetyCode)]
    pub fn safety_code(&self, who: &str) -> Result<String, JsValue> {
        let who: Whom = who.parse().map_err(refused)?;
        Ok(self.core.safety_code(&who).map_err(refused)?.to_string())
    }

    /// Entries of this session that cannot be shown.
    pub fn gaps(&self) -> JsValue {
        to_js(&self.gaps)
    }

    /// How an intent ended: `{done: boolean, error?}`; `undefined` while it has not, or is none.
    pub fn intent(&self, number: f64) -> JsValue {
        #[derive(Serialize)]
        struct Ended<'a> {
            done: bool,
            error: Option<&'a roost_protocol::refusal::Refusal>,
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "intents are counted")]
        let ended = self.ended.get(&(number as u64));
        ended.map_or(JsValue::UNDEFINED, |error| to_js(&Ended { done: error.is_none(), error: error.as_ref() }))
    }
}

impl Device {
    fn list(&self) -> Result<Vec<Conversation>, Error> {
        let changed: Vec<Handle> = self.core.key_changes()?.into_iter().map(|change| change.handle).collect();
        let mut groups: BTreeMap<ConversationId, ConversationReport> =
            self.core.conversations()?.into_iter().map(|report| (report.conversation, report)).collect();
        let mut warnings: BTreeMap<ConversationId, Vec<Warning>> = BTreeMap::new();
        for warning in self.core.warnings()? {
            warnings.entry(warning.conversation).or_default().push(warning);
        }
        let mut list = Vec::new();
        for view in self.core.conversation_views()? {
            let handle = view.with.parse::<Handle>().ok();
            let place = view.account.map_or(Recipient::Id(view.conversation), Recipient::from);
            let newest = self.core.history(Some(&place), None, 1)?.items.into_iter().next();
            let mut group = groups.remove(&view.conversation);
            let picture = match (&mut group, view.account) {
                (Some(group), _) => group.picture.take(),
                (None, Some(account)) => self.core.picture_of(&account)?,
                (None, None) => None,
            };
            let name = group.as_ref().map(|group| group.title.clone()).filter(|title| !title.is_empty());
            list.push(Conversation {
                id: view.conversation.to_string(),
                to: match (&handle, view.account) {
                    (Some(handle), _) => handle.to_string(),
                    (None, Some(account)) => account.to_string(),
                    (None, None) => view.conversation.to_string(),
                },
                account: view.account.map(|account| account.to_string()),
                name: name.or(view.name),
                picture: named(picture),
                unread: view.unread,
                mentioned: view.mentioned,
                expires_after_s: view.expires_after_s,
                newest,
                blocked: view.account.map_or(Ok(false), |account| self.core.is_blocked(&account))?,
                verified: view.account.map_or(Ok(false), |account| self.core.is_verified(&account))?,
                key_changed: handle.is_some_and(|handle| changed.contains(&handle)),
                typing: self.typists(&place),
                presence: view.account.map(|account| self.core.presence_of(&account, self.now_ms)),
                draft: self.core.draft(&view.conversation)?,
                warnings: warnings.remove(&view.conversation).unwrap_or_default(),
                group,
            });
        }
        // Of many, and nothing was said yet.
        for mut report in groups.into_values().filter(|report| !report.over) {
            let picture = named(report.picture.take());
            let id = report.conversation.to_string();
            list.push(Conversation {
                to: id.clone(),
                draft: self.core.draft(&report.conversation)?,
                typing: self.typists(&Recipient::Id(report.conversation)),
                id,
                account: None,
                name: Some(report.title.clone()).filter(|title| !title.is_empty()),
                picture,
                unread: 0,
                mentioned: 0,
                expires_after_s: report.expires_after_s,
                newest: None,
                blocked: false,
                verified: false,
                key_changed: false,
                presence: None,
                warnings: warnings.remove(&report.conversation).unwrap_or_default(),
                group: Some(report),
            });
        }
        list.sort_by_key(|one| std::cmp::Reverse(one.newest.as_ref().map_or(u64::MAX, |newest| newest.sent_at)));
        Ok(list)
    }

    fn typists(&self, of: &Recipient) -> Vec<String> {
        self.core.typists(of).unwrap_or_default().iter().map(ToString::to_string).collect()
    }
}
