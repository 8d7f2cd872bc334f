//! What a person does. Each returns once it is in the batch; it is durable after the next `finish`.

use crate::device::Device;
use crate::draw;
use crate::failure::{Failure, to_js};
use roost_client::Error;
use roost_client::core::devices::LogChange;
use roost_client::core::people::{Settings, Whom};
use roost_client::core::{Extras, GroupChange, Input, Recipient};
use roost_crypto::bytes::Bytes;
use roost_protocol::conversation::Role;
use roost_protocol::handle::Handle;
use roost_protocol::ids::{ConversationId, MessageId};
use roost_protocol::{AccountId, DeviceId};
use serde::Deserialize;
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

type Done<T = ()> = Result<T, JsValue>;

/// What a text may have beside its words.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Beside {
    pub(crate) reply: Option<String>,
    /// Accounts; left out, whom the text names like @bob@birch.
    pub(crate) mentions: Option<Vec<String>>,
    pub(crate) expires_after_s: Option<u64>,
}

/// What stands beside a text or a file; nothing for `undefined` and `null`.
pub(crate) fn beside(given: JsValue) -> Result<Beside, Failure> {
    match given.is_undefined() || given.is_null() {
        true => Ok(Beside::default()),
        false => serde_wasm_bindgen::from_value(given).map_err(Failure::argument),
    }
}

pub(crate) fn recipient(to: &str) -> Result<Recipient, Failure> {
    to.trim().parse().map_err(Failure::from)
}

fn whom(who: &str) -> Result<Whom, Failure> {
    who.trim().parse().map_err(Failure::from)
}

fn handle(text: &str) -> Result<Handle, Failure> {
    text.trim().parse().map_err(|error| Error::from(error).into())
}

pub(crate) fn message(id: &str) -> Result<MessageId, Failure> {
    id.parse().map_err(|_| Failure::argument("no id of a message"))
}

fn conversation(id: &str) -> Result<ConversationId, Failure> {
    id.parse().map_err(|_| Failure::argument("no id of a conversation"))
}

fn account(id: &str) -> Result<AccountId, Failure> {
    id.parse().map_err(|_| Failure::argument("no id of an account"))
}

fn whole(seconds: f64) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds that a person chose")]
    let seconds = seconds as u64;
    seconds
}

pub(crate) fn failed(error: impl Into<Failure>) -> JsValue {
    error.into().into()
}

impl Device {
    /// What goes beside a text; whom it mentions, as given or as the text names them.
    pub(crate) fn extras(&self, to: &Recipient, text: &str, beside: Beside) -> Done<Extras> {
        let Beside { reply, mentions, expires_after_s } = beside;
        let mentions = match mentions {
            Some(ids) => ids.iter().map(|id| account(id)).collect::<Result<_, _>>()?,
            None => self.core.mentioned(to, text).map_err(failed)?,
        };
        Ok(Extras { reply: reply.as_deref().map(message).transpose()?, mentions, expires_after_s })
    }
}

#[wasm_bindgen]
impl Device {
    /// Writes to a handle, an account or a conversation; `beside` is `{reply?, mentions?, expires_after_s?}`. The message's id.
    ///
    /// # Errors
    /// `too_large`, `unknown_person`, `unknown_conversation`, `key_changed`, `blocked` … change nothing.
    pub fn send(&mut self, to: &str, text: &str, beside: JsValue) -> Done<String> {
        let to = recipient(to)?;
        let extras = self.extras(&to, text, self::beside(beside)?)?;
        let id = self.core.send_with(&to, text, extras, &mut draw, self.now_ms).map_err(failed)?;
        Ok(id.to_string())
    }

    /// Reacts, or takes the reaction back.
    ///
    /// # Errors
    /// As [`Self::send`]; `unknown_message`, `message_gone`.
    pub fn react(&mut self, to: &str, id: &str, emoji: &str, remove: bool) -> Done {
        let (to, id) = (recipient(to)?, message(id)?);
        self.core.react(&to, id, emoji, remove, &mut draw, self.now_ms).map(drop).map_err(failed)
    }

    /// Gives a message of ours another text.
    ///
    /// # Errors
    /// As [`Self::react`]; `not_yours`.
    pub fn edit(&mut self, to: &str, id: &str, text: &str) -> Done {
        let (to, id) = (recipient(to)?, message(id)?);
        self.core.edit(&to, id, text, &mut draw, self.now_ms).map(drop).map_err(failed)
    }

    /// Takes a message of ours back, for everybody.
    ///
    /// # Errors
    /// As [`Self::edit`].
    #[wasm_bindgen(js_name = takeBack)]
    pub fn take_back(&mut self, to: &str, id: &str) -> Done {
        let (to, id) = (recipient(to)?, message(id)?);
        self.core.delete(&to, id, &mut draw, self.now_ms).map(drop).map_err(failed)
    }

    /// Everything there counts as read. How many were unread.
    ///
    /// # Errors
    /// `unknown_person`, `unknown_conversation`.
    #[wasm_bindgen(js_name = markRead)]
    pub fn mark_read(&mut self, of: &str) -> Done<usize> {
        let of = recipient(of)?;
        self.core.mark_read(&of, &mut draw, self.now_ms).map_err(failed)
    }

    /// A message was shown: it is not told of again.
    ///
    /// # Errors
    /// `internal`.
    #[wasm_bindgen(js_name = markShown)]
    pub fn mark_shown(&mut self, id: &str) -> Done {
        let id = message(id)?;
        self.core.mark_shown(&id).map_err(failed)
    }

    /// Looks somebody up; the answer is the event `looked_up`.
    ///
    /// # Errors
    /// `bad_handle`.
    pub fn lookup(&mut self, who: &str) -> Done {
        let wanted = handle(who)?;
        self.core.handle(Input::Lookup(wanted), &mut draw, self.now_ms).map_err(failed)
    }

    /// Lets a stranger write to us, or takes part in a conversation that a stranger took us into.
    ///
    /// # Errors
    /// `unknown_person`.
    pub fn accept(&mut self, who: &str) -> Done {
        let who = whom(who)?;
        if let Whom::Account(id) = &who
            && self.core.accept_conversation(&ConversationId(id.0)).map_err(failed)?
        {
            return Ok(());
        }
        let account = self.core.whom(&who).map_err(failed)?;
        self.core.accept(&account).map_err(failed)
    }

    /// Blocks somebody, or ends that.
    ///
    /// # Errors
    /// `unknown_person`.
    #[wasm_bindgen(js_name = setBlocked)]
    pub fn set_blocked(&mut self, who: &str, blocked: bool) -> Done {
        let account = self.core.whom(&whom(who)?).map_err(failed)?;
        if blocked { self.core.block(&account) } else { self.core.unblock(&account) }.map_err(failed)
    }

    /// Changes settings: those of `settings()`, whole.
    ///
    /// # Errors
    /// `bad_content`, `too_large`.
    #[wasm_bindgen(js_name = setSettings)]
    pub fn set_settings(&mut self, settings: JsValue) -> Done {
        let settings: Settings = serde_wasm_bindgen::from_value(settings).map_err(Failure::argument)?;
        self.core.set_settings(settings).map_err(failed)
    }

    /// A new conversation of many; `{intent, conversation}`.
    ///
    /// # Errors
    /// `bad_handle`, `group_size`.
    #[wasm_bindgen(js_name = createGroup)]
    pub fn create_group(&mut self, members: Vec<String>) -> Done<JsValue> {
        let members = members.iter().map(|one| handle(one)).collect::<Result<Vec<_>, _>>()?;
        let (intent, made) = self.core.create_group(members, &mut draw).map_err(failed)?;
        Ok(to_js(&Begun { intent, conversation: made.to_string() }))
    }

    /// Adds people; the intent's number.
    ///
    /// # Errors
    /// `bad_handle`, `unknown_conversation`, `not_admin`, `group_size`.
    #[wasm_bindgen(js_name = addMembers)]
    pub fn add_members(&mut self, id: &str, members: Vec<String>) -> Done<f64> {
        let members = members.iter().map(|one| handle(one)).collect::<Result<Vec<_>, _>>()?;
        self.change(id, GroupChange::Add(members))
    }

    /// Removes accounts; the intent's number.
    ///
    /// # Errors
    /// `unknown_conversation`, `not_admin`.
    #[wasm_bindgen(js_name = removeMembers)]
    pub fn remove_members(&mut self, id: &str, accounts: Vec<String>) -> Done<f64> {
        let accounts = accounts.iter().map(|one| account(one)).collect::<Result<Vec<_>, _>>()?;
        self.change(id, GroupChange::Remove(accounts))
    }

    /// Makes somebody an admin, or a member again; the intent's number.
    ///
    /// # Errors
    /// `unknown_conversation`, `not_admin`.
    #[wasm_bindgen(js_name = setAdmin)]
    pub fn set_admin(&mut self, id: &str, who: &str, admin: bool) -> Done<f64> {
        let role = if admin { Role::Admin } else { Role::Member };
        self.change(id, GroupChange::Role(account(who)?, role))
    }

    /// Tells the others that we leave; one of them carries it out.
    ///
    /// # Errors
    /// `unknown_conversation`.
    #[wasm_bindgen(js_name = leaveGroup)]
    pub fn leave_group(&mut self, id: &str) -> Done {
        let id = conversation(id)?;
        self.core.leave_group(id, &mut draw, self.now_ms).map_err(failed)
    }

    /// Calls a conversation otherwise; what is `undefined` stays.
    ///
    /// # Errors
    /// `unknown_conversation`, `not_admin`, `too_large`.
    #[wasm_bindgen(js_name = setAbout)]
    pub fn set_about(&mut self, id: &str, title: Option<String>, description: Option<String>) -> Done {
        let id = conversation(id)?;
        self.core.set_about(id, title, description, &mut draw, self.now_ms).map(drop).map_err(failed)
    }

    /// Shows a conversation of many as a picture (JPEG, PNG or WebP), or as none.
    ///
    /// # Errors
    /// `unknown_conversation`, `not_admin`, `bad_content`.
    #[wasm_bindgen(js_name = setAboutPicture)]
    pub fn set_about_picture(&mut self, id: &str, picture: Option<Vec<u8>>) -> Done {
        let id = conversation(id)?;
        self.core.set_about_picture(id, picture.map(Bytes), &mut draw, self.now_ms).map(drop).map_err(failed)
    }

    /// What this account wants to be shown as (JPEG, PNG or WebP), or nothing.
    ///
    /// # Errors
    /// `bad_content`.
    #[wasm_bindgen(js_name = setOwnPicture)]
    pub fn set_own_picture(&mut self, picture: Option<Vec<u8>>) -> Done {
        self.core.set_own_picture(picture.map(Bytes), self.now_ms).map_err(failed)
    }

    /// What is said in a conversation from now on goes after so many seconds; `undefined`: it stays.
    ///
    /// # Errors
    /// `unknown_person`, `unknown_conversation`, `not_admin`, `bad_content`, `blocked`, `key_changed`.
    #[wasm_bindgen(js_name = setTimer)]
    pub fn set_timer(&mut self, of: &str, expires_after_s: Option<f64>) -> Done {
        let of = recipient(of)?;
        let seconds = expires_after_s.map(whole);
        self.core.set_timer(&of, seconds, &mut draw, self.now_ms).map(drop).map_err(failed)
    }

    /// Another hub for a conversation: the present one hands over, or one follows it that is lost; the intent's number.
    ///
    /// # Errors
    /// `unknown_conversation`, `not_admin`.
    #[wasm_bindgen(js_name = moveHub)]
    pub fn move_hub(&mut self, id: &str, is_lost: bool) -> Done<f64> {
        self.change(id, if is_lost { GroupChange::Succeed { to: None, term: None } } else { GroupChange::Move(None) })
    }

    /// Reads up to `rows` more messages for `search`; whether all have been read. It finds among what was read.
    ///
    /// # Errors
    /// `internal`.
    #[wasm_bindgen(js_name = prepareSearch)]
    pub fn prepare_search(&mut self, rows: usize) -> Done<bool> {
        self.core.prepare_search(rows).map_err(failed)
    }

    /// Keeps an unfinished text; an empty one leaves nothing.
    ///
    /// # Errors
    /// `too_large`.
    #[wasm_bindgen(js_name = setDraft)]
    pub fn set_draft(&mut self, id: &str, text: &str) -> Done {
        let id = conversation(id)?;
        self.core.set_draft(&id, text).map_err(failed)
    }

    /// The person types, or stopped. May be called with every key.
    ///
    /// # Errors
    /// `unknown_person`, `unknown_conversation`.
    pub fn typing(&mut self, to: &str, on: bool) -> Done {
        let to = recipient(to)?;
        self.core.typing(&to, on, &mut draw, self.now_ms).map_err(failed)
    }

    /// The person did something.
    pub fn active(&mut self) {
        self.core.active(self.now_ms);
    }

    /// Asks whether somebody is there, until `unwatch`.
    ///
    /// # Errors
    /// `unknown_person`, `unknown_conversation`.
    pub fn watch(&mut self, who: &str) -> Done<bool> {
        let who = recipient(who)?;
        self.core.watch(&who, self.now_ms).map_err(failed)
    }

    /// It is not shown any more.
    ///
    /// # Errors
    /// As [`Self::watch`].
    pub fn unwatch(&mut self, who: &str) -> Done {
        let who = recipient(who)?;
        self.core.unwatch(&who).map_err(failed)
    }

    /// The safety number was compared; a changed key is taken over.
    ///
    /// # Errors
    /// `unknown_person`.
    pub fn verify(&mut self, who: &str) -> Done {
        let who = whom(who)?;
        self.core.verify(&who, None).map(drop).map_err(failed)
    }

    /// The code that their device shows was read by a camera or pasted; a changed key is taken over.
    ///
    /// # Errors
    /// `unknown_person`, `digits_differ`, `bad_argument`.
    #[wasm_bindgen(js_name = verifyCode)]
    pub fn verify_code(&mut self, who: &str, code: &str) -> Done {
        let (who, code) = (whom(who)?, code.parse().map_err(Failure::argument)?);
        self.core.verify_code(&who, &code).map(drop).map_err(failed)
    }

    /// Takes a changed key over without comparing.
    ///
    /// # Errors
    /// `internal`.
    #[wasm_bindgen(js_name = acceptKey)]
    pub fn accept_key(&mut self, who: &str) -> Done<bool> {
        let who = handle(who)?;
        self.core.accept_key(&who).map_err(failed)
    }

    /// Calls this device otherwise.
    ///
    /// # Errors
    /// `too_large`.
    #[wasm_bindgen(js_name = nameDevice)]
    pub fn name_device(&mut self, name: &str) -> Done {
        self.core.name_device(name, self.now_ms).map_err(failed)
    }

    /// Ends another device of the account.
    ///
    /// # Errors
    /// `unknown_device`, `not_possible`.
    pub fn revoke(&mut self, device: &str) -> Done {
        let device: DeviceId = device.parse().map_err(|_| Failure::argument("no id of a device"))?;
        self.core.change_log(LogChange::Revoke(device)).map_err(failed)
    }

    /// Offers to link a device; the code.
    #[wasm_bindgen(js_name = offerLink)]
    pub fn offer_link(&mut self) -> String {
        self.core.offer_link(&mut draw).to_string()
    }

    /// The person has compared the digits.
    ///
    /// # Errors
    /// `unknown_device`, `not_possible`.
    #[wasm_bindgen(js_name = acceptLink)]
    pub fn accept_link(&mut self) -> Done {
        self.core.accept_link().map_err(failed)
    }

    /// Nobody is linked by the code any more.
    #[wasm_bindgen(js_name = endLink)]
    pub fn end_link(&mut self) {
        self.core.end_link();
    }

    fn change(&mut self, id: &str, change: GroupChange) -> Done<f64> {
        let id = conversation(id)?;
        let intent = self.core.change_group(id, change).map_err(failed)?;
        #[expect(clippy::cast_precision_loss, reason = "intents are counted")]
        Ok(intent as f64)
    }
}

/// What a creation gives.
#[derive(serde::Serialize)]
struct Begun {
    intent: u64,
    conversation: String,
}
