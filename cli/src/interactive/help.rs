//! The keys and commands, as the help shows them.

use super::text::wrap;

/// Columns of what is pressed.
pub const KEYS: usize = 21;

/// What is pressed or typed, and what it does; an empty first half is a heading.
const HELP: &[(&str, &str)] = &[
    ("", "Moving"),
    ("Tab", "between the list and the conversation"),
    ("Up Down", "in the list; in a conversation the message before, after"),
    ("Enter", "opens what the list is at"),
    ("Alt-Up Alt-Down", "the conversation above, below"),
    ("PgUp PgDn", "a page up, down; at the top older messages are loaded"),
    ("Esc", "one step back"),
    ("", "Writing"),
    ("Enter", "sends"),
    ("Alt-Enter Ctrl-J", "a new line"),
    ("Ctrl-R", "answers the message selected, else the newest of another"),
    ("Ctrl-E", "changes your message selected, else your newest"),
    ("Ctrl-D", "takes it back, for everyone; asks once more"),
    ("Ctrl-K", "reacts; the same emoji again takes it back"),
    ("Ctrl-W Ctrl-U", "removes a word, all before the cursor"),
    ("", "Commands"),
    ("/to NAME", "writes to somebody, like /to bob@birch"),
    ("/group NAME …", "begins a conversation of many"),
    ("/add /remove NAME …", "changes who takes part in it"),
    ("/role NAME admin", "makes somebody an admin, or a member again"),
    ("/title WORDS", "calls it otherwise"),
    ("/leave", "leaves it"),
    ("/info", "who takes part, in which role, and what is known"),
    ("/timer TIME", "what is said from now on goes after it; /timer off"),
    ("/find WORDS", "the newest message with them; again, one before"),
    ("/accept /block [NAME]", "lets a stranger write, or not; /unblock"),
    ("/verify [NAME]", "compares the safety number"),
    ("/accept-key [NAME]", "takes a changed key over without comparing"),
    ("/devices", "your devices; /device-name NAME, /revoke NUMBER"),
    ("/link", "shows a code that makes another machine one of them"),
    ("", "Message states"),
    ("queued", "on disk here"),
    ("accepted", "on disk at your node"),
    ("custody", "on disk at their node"),
    ("delivered", "on their device"),
    ("read", "they opened it"),
    ("", "Always"),
    ("F1 ?", "this help; ? again writes one"),
    ("Ctrl-C Ctrl-Q", "ends; drafts are kept, what is queued goes later"),
];

/// It in so many columns: what is pressed, and what it does; a heading has no second half.
pub fn rows(width: usize) -> Vec<(&'static str, String)> {
    let mut rows = Vec::new();
    for (key, does) in HELP {
        if key.is_empty() {
            rows.push((*does, String::new()));
            continue;
        }
        let mut key = *key;
        for line in wrap(does, width.saturating_sub(KEYS + 1)) {
            rows.push((std::mem::take(&mut key), line));
        }
    }
    rows
}
