//! The lives of other nodes' stores: a new one has nothing of what an earlier one gave custody for.

use super::delivery::parse_outbox_key;
use super::{Note, Relay, Step, accounts, rows, spans};
use crate::store::{Read as _, StoreError};
use roost_crypto::ids::NodeId;
use roost_crypto::planted;
use roost_protocol::ids::Incarnation;

/// Nodes whose new life is believed later; more are believed at once.
const LATE_LIVES_MAX: usize = 1_024;
/// Nodes whose life is remembered before anything is written to them; one that is forgotten is delivered to once more.
const STRANGERS_MAX: usize = 4_096;

/// Outbox rows looked at in one batch while custody is voided: about a quarter of a megabyte to write.
const VOIDED_ROWS: usize = 2_000;

/// A node in a new life, and how far the rows of its earlier ones were walked.
pub(super) struct Voiding {
    life: Incarnation,
    /// Where the walk goes on.
    from: Vec<u8>,
    /// Whether anything was ever delivered to it, or is to be.
    matters: bool,
}

impl Relay {
    /// A node was met: a new life of its store has nothing of what an earlier one gave custody for.
    pub(super) fn met(&mut self, step: &mut Step<'_, '_>, peer: NodeId, life: Incarnation) -> Result<(), StoreError> {
        let key = rows::peer_life(&peer);
        let row: Option<Incarnation> = rows::get(step.rows, &key)?;
        let voiding = self.voiding.get(&peer).map(|voiding| voiding.life);
        let known = voiding.or(row).or_else(|| self.strangers.get(&peer).copied());
        self.late_lives.remove(&peer);
        if known != Some(life)
            && self.late_lives.len() < LATE_LIVES_MAX
            && let Err(wait) = self.quotas.lives.take(&peer, 1, step.now_ms)
        {
            // Each new life is a walk through the outbox: a node that has too many is believed later.
            self.late_lives.insert(peer, (life, step.now_ms + wait));
        } else if known != Some(life) && !planted!(self.identity.sabotage, EarlierLifeBelieved) {
            // A custody that was given under no known life is void too.
            self.voiding.insert(peer, Voiding { life, from: vec![rows::OUTBOX], matters: row.is_some() });
        }
        if let Some(destination) = self.destinations.get_mut(&peer) {
            destination.due_at_once();
        }
        Ok(())
    }

    /// Goes on with voiding what nodes gave custody for in earlier lives. A page a batch: a commit is bounded, and there may be
    /// very many rows; the new life is written with the last page, so a crash in between begins again.
    pub(super) fn void_custody(&mut self, step: &mut Step<'_, '_>) -> Result<(), StoreError> {
        let end = rows::end_of(&[rows::OUTBOX]);
        for (peer, mut voiding) in std::mem::take(&mut self.voiding) {
            let page = step.rows.scan(&voiding.from, &end, VOIDED_ROWS)?;
            let last = page.last().filter(|_| page.len() >= VOIDED_ROWS).map(|(key, _)| key.clone());
            for (key, _) in page {
                let Some((feed, account)) = parse_outbox_key(&key) else { continue };
                if matches!(accounts::home_of(step, &account), Ok(home) if home == peer) {
                    voiding.matters = true;
                    rows::put(step.rows, key, &0_u64);
                    self.destinations.entry(peer).or_default().enqueue((feed, account), 0);
                    let to = spans::owed(step.rows, &feed, &account, 0)?;
                    self.notes.push(Note::Owed { feed, account, from: 1, to });
                }
            }
            if let Some(mut last) = last {
                last.push(0);
                voiding.from = last;
                self.voiding.insert(peer, voiding);
            } else if voiding.matters {
                rows::put(step.rows, rows::peer_life(&peer), &voiding.life);
                self.contacts.met(peer, step.now_ms);
            } else {
                // A node to which nothing was ever written leaves no row, for there is no end of such nodes.
                if self.strangers.len() >= STRANGERS_MAX {
                    self.strangers.pop_first();
                }
                self.strangers.insert(peer, voiding.life);
            }
        }
        Ok(())
    }

    /// Believes the lives whose time has come.
    pub(super) fn meet_late(&mut self, step: &mut Step<'_, '_>) -> Result<(), StoreError> {
        let due = self.late_lives.iter().filter(|(_, (_, at))| *at <= step.now_ms);
        let due: Vec<_> = due.map(|(peer, (life, _))| (*peer, *life)).collect();
        for (peer, life) in due {
            self.met(step, peer, life)?;
        }
        Ok(())
    }
}
