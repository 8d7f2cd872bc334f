//! What begins with a slash.

use super::{Effect, Model, Notice, Overlay, Place};
use crate::commands::chat::timer::{Time, words as timer_words};
use crate::interactive::snapshot::{Conversation, Who};
use crate::interactive::text::clean_line;
use roost_client::core::GroupChange;
use roost_client::core::people::Whom;
use roost_protocol::AccountId;
use roost_protocol::conversation::Role;
use roost_protocol::handle::Handle;
use roost_protocol::ids::ConversationId;

/// Ends a command that does not go: what to tell.
type Told = Result<(), String>;

impl Model {
    /// Does what a line without its slash says; one that does not go stays in the input.
    pub(super) fn command(&mut self, line: &str) {
        let mut words = line.split_whitespace();
        let verb = words.next().unwrap_or_default().to_owned();
        let words: Vec<&str> = words.collect();
        let open = self.open;
        let done = match verb.as_str() {
            "help" => {
                self.overlay = Some(Overlay::Help(0));
                Ok(())
            }
            "to" => self.to(&words),
            "group" => self.group(&words),
            "add" => self.add(&words),
            "remove" => self.remove(&words),
            "role" => self.role(&words),
            "title" => self.title_words(line),
            "info" => self.info(),
            "timer" => self.timer(&words),
            "find" => self.find_line(line),
            "devices" => self.ask(Effect::Devices, "Looking …"),
            "device-name" => self.device_name(line),
            "revoke" => self.revoke(&words),
            "link" => self.ask(Effect::Link, "A code is being made …"),
            "leave" => self.many().map(|id| self.effects.push_back(Effect::Leave(id))),
            "accept" => self.whom(&words).map(|whom| self.effects.push_back(Effect::Accept(whom))),
            "block" => self.whom(&words).map(|whom| self.effects.push_back(Effect::Block(whom, true))),
            "unblock" => self.whom(&words).map(|whom| self.effects.push_back(Effect::Block(whom, false))),
            "verify" => self.handle_of(&words).map(|with| self.effects.push_back(Effect::SafetyNumber(with))),
            "accept-key" => self.accept_key(&words),
            "quit" => {
                self.over = true;
                Ok(())
            }
            _ => Err(format!("There is no /{verb}. F1 lists what there is; // begins a text with a slash.")),
        };
        match done {
            // Another place that was opened has a draft of its own.
            Ok(()) if self.open != open => {}
            Ok(()) => {
                self.written();
            }
            Err(why) => self.notice = Some(Notice::failed(why)),
        }
    }

    fn to(&mut self, words: &[&str]) -> Told {
        let [name] = words else { return Err("/to NAME, like /to bob@birch".to_owned()) };
        let handle = handle(name)?;
        if handle.to_string() == self.me() {
            return Err("This is your own handle.".to_owned());
        }
        let known =
            self.conversations.iter().find(|one| matches!(&one.who, Who::Handle { handle: of, .. } if *of == handle));
        match known.map(|one| one.id) {
            // The command is no draft of where it was typed: it goes before another place opens.
            Some(id) => {
                self.written();
                self.open_place(Place::Conversation(id));
            }
            None => {
                self.notice = Some(Notice::done(format!("Looking for {handle} …")));
                self.effects.push_back(Effect::LookUp(handle));
            }
        }
        Ok(())
    }

    fn group(&mut self, words: &[&str]) -> Told {
        if words.is_empty() {
            return Err("/group NAME NAME …, like /group bob@birch carol@cedar".to_owned());
        }
        let members = words.iter().map(|name| handle(name)).collect::<Result<_, _>>()?;
        self.notice = Some(Notice::done("The conversation is being made …"));
        self.effects.push_back(Effect::Group(members));
        Ok(())
    }

    fn add(&mut self, words: &[&str]) -> Told {
        let id = self.many()?;
        if words.is_empty() {
            return Err("/add NAME …, like /add dave@birch".to_owned());
        }
        let members = words.iter().map(|name| handle(name)).collect::<Result<_, _>>()?;
        self.change_group(id, GroupChange::Add(members));
        Ok(())
    }

    fn remove(&mut self, words: &[&str]) -> Told {
        let id = self.many()?;
        let Some(Who::Many { participants, .. }) = self.conversation().map(|one| &one.who) else {
            return Err(of_many());
        };
        if words.is_empty() {
            return Err("/remove NAME …, like /remove dave@birch".to_owned());
        }
        let account = |name: &&str| -> Result<AccountId, String> {
            let found = participants.iter().find(|one| one.name == *name || one.account.to_string() == *name);
            found.map(|one| one.account).ok_or_else(|| format!("{name} takes no part in it."))
        };
        let accounts = words.iter().map(account).collect::<Result<_, _>>()?;
        self.change_group(id, GroupChange::Remove(accounts));
        Ok(())
    }

    fn role(&mut self, words: &[&str]) -> Told {
        let id = self.many()?;
        let ([name, role], Some(Who::Many { participants, .. })) = (words, self.conversation().map(|one| &one.who))
        else {
            return Err("/role NAME admin, or /role NAME member".to_owned());
        };
        let role = match *role {
            "admin" => Role::Admin,
            "member" => Role::Member,
            _ => return Err("A role is admin or member.".to_owned()),
        };
        let found = participants.iter().find(|one| one.name == *name || one.account.to_string() == *name);
        let account = found.map(|one| one.account).ok_or_else(|| format!("{name} takes no part in it."))?;
        self.change_group(id, GroupChange::Role(account, role));
        Ok(())
    }

    fn title_words(&mut self, line: &str) -> Told {
        let id = self.many()?;
        let title = rest(line);
        if title.is_empty() {
            return Err("/title WORDS, like /title Friends of the house".to_owned());
        }
        self.effects.push_back(Effect::Title(id, title.to_owned()));
        Ok(())
    }

    /// Who takes part, in which role, and what else is known of a conversation.
    fn info(&mut self) -> Told {
        let one = self.conversation().ok_or_else(|| "No conversation is open.".to_owned())?;
        let mut lines = Vec::new();
        match &one.who {
            Who::Many { participants, title, description, hub, .. } => {
                lines.extend((!title.is_empty()).then(|| clean_line(title)));
                lines.extend(description.lines().map(clean_line));
                for one in participants {
                    let role = if one.role == Role::Admin { "admin" } else { "member" };
                    let devices =
                        if one.devices == 1 { "1 device".to_owned() } else { format!("{} devices", one.devices) };
                    lines.push(format!("{}  {role}, {devices}", clean_line(&one.name)));
                }
                lines.push(String::new());
                lines.push(format!("hub {hub}"));
            }
            Who::Handle { handle, account, verified, .. } => {
                lines.push(handle.to_string());
                lines.extend(one.name.as_ref().map(|name| format!("wants to be called {}", clean_line(name))));
                lines.extend(one.devices.map(|devices| format!("{devices} devices")));
                let compared = if *verified { "compared" } else { "not compared; /verify does" };
                lines.push(format!("safety number {compared}"));
                lines.push(format!("account {account}"));
            }
            Who::Account(account) => lines.push(format!("account {account}")),
        }
        lines.push(format!("conversation {}", one.id));
        lines.push(timer_words(one.expires_after_s.unwrap_or(0)));
        let title = clean_line(&one.title(self.me()));
        self.overlay = Some(Overlay::Page { title, lines, from: 0 });
        Ok(())
    }

    fn timer(&mut self, words: &[&str]) -> Told {
        let how = || "/timer TIME, like /timer 1d; /timer off".to_owned();
        let to =
            self.conversation().map(Conversation::recipient).ok_or_else(|| "No conversation is open.".to_owned())?;
        let [time] = words else { return Err(how()) };
        let Time(time) = time.parse().map_err(|_| how())?;
        self.effects.push_back(Effect::Timer(to, time.map(|time| time.as_secs())));
        Ok(())
    }

    fn find_line(&mut self, line: &str) -> Told {
        match rest(line) {
            "" => Err("/find WORDS selects the newest message with them; again, the one before.".to_owned()),
            words => self.find_words(words),
        }
    }

    fn ask(&mut self, effect: Effect, words: &str) -> Told {
        self.notice = Some(Notice::done(words));
        self.effects.push_back(effect);
        Ok(())
    }

    fn device_name(&mut self, line: &str) -> Told {
        match rest(line) {
            "" => Err("/device-name NAME, like /device-name kitchen laptop".to_owned()),
            name => self.ask(Effect::NameDevice(name.to_owned()), "It is being named …"),
        }
    }

    fn revoke(&mut self, words: &[&str]) -> Told {
        let [which] = words else { return Err("/revoke NUMBER, as /devices lists them".to_owned()) };
        self.effects.push_back(Effect::AskToRevoke((*which).to_owned()));
        Ok(())
    }

    fn change_group(&mut self, id: ConversationId, change: GroupChange) {
        self.notice = Some(Notice::done("Asked for; it is done once the others know …"));
        self.effects.push_back(Effect::Change(id, change));
    }

    fn accept_key(&mut self, words: &[&str]) -> Told {
        let handle = self.handle_of(words)?;
        self.effects.push_back(Effect::AcceptKey(handle));
        Ok(())
    }

    /// The open conversation, if it is one of many that goes on.
    fn many(&self) -> Result<ConversationId, String> {
        let open = self.conversation().filter(|one| matches!(one.who, Who::Many { over: false, .. }));
        open.map(|one| one.id).ok_or_else(of_many)
    }

    /// Who is named, else who is open or selected.
    fn whom(&self, words: &[&str]) -> Result<Whom, String> {
        let open = match (words, self.open) {
            ([name], _) => return name.parse().map_err(|_| not_a_handle(name)),
            ([], Some(Place::Requests)) => self.request().map(whom_of_request),
            ([], _) => self.conversation().and_then(Conversation::whom),
            _ => None,
        };
        open.ok_or_else(|| "Name one person, like bob@birch.".to_owned())
    }

    fn handle_of(&self, words: &[&str]) -> Result<Handle, String> {
        match self.whom(words)? {
            Whom::Handle(handle) => Ok(handle),
            Whom::Account(_) => Err("Nobody vouches for a handle of theirs.".to_owned()),
        }
    }
}

fn whom_of_request(request: &roost_client::core::people::Request) -> Whom {
    Whom::Account(request.account)
}

/// What stands behind the command, as it was written.
fn rest(line: &str) -> &str {
    line.split_once(char::is_whitespace).map_or("", |(_, rest)| rest.trim())
}

fn of_many() -> String {
    "This goes in a conversation of many that you take part in.".to_owned()
}

fn handle(name: &str) -> Result<Handle, String> {
    name.parse().map_err(|_| not_a_handle(name))
}

fn not_a_handle(name: &str) -> String {
    format!("{name} is no handle: one looks like bob@birch.")
}
