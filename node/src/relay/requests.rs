//! Requests between nodes: what others ask of us, and what the answers to our own questions are for.

use super::commits::{is_home_of_one, part_of, participants_at, people_of};
use super::conversations::group_head;
use super::delivery::Asked;
use super::successors::{feeds_of, group_of_proof};
use super::whispers::Whisper;
use super::{ConnectionId, Failure, Output, Relay, RequestToken, Step, accounts, feeds};
use crate::store::StoreError;
use roost_crypto::ids::{AccountId, NodeId};
use roost_protocol::conversation::Creation;
use roost_protocol::ids::{FeedId, GroupId};
use roost_protocol::peer::{NodeHello, NodeRequest, NodeResponse};
use roost_protocol::refusal::{Code, Refusal};
use roost_protocol::socket::ServerFrame;

/// What an answer is for.
pub(super) enum Pending {
    Deliver(Asked),
    Create {
        connection: ConnectionId,
        id: u64,
        creation: Box<Creation>,
    },
    /// A node that lost its store was shown a conversation, so that it takes what is delivered in it.
    Introduction,
    Greeting(NodeId),
    /// Whatever comes of it.
    Whisper,
    Commit {
        connection: ConnectionId,
        id: u64,
    },
    /// As [`Self::Commit`], of a successor: if it knows commits that are not known here, they are fetched from it.
    Succeed {
        connection: ConnectionId,
        id: u64,
        group: GroupId,
        node: NodeId,
    },
    /// The public state of a group.
    PublicState(GroupId),
    /// Entries of a hub's feed, from another holder.
    Fetched(FeedId),
    /// The feeds of a group's hub that another holder, the node, has.
    Feeds(GroupId, NodeId),
    /// A proof was told; who does not hear it sees the same two heads in time. Or a custody: who does not hear it delivers.
    Told,
    Tree {
        connection: ConnectionId,
        id: u64,
        offset: u64,
    },
    /// The logs of who takes part in a group, or took part in an epoch.
    Participants(GroupId, Option<u64>),
    /// The log of who wrote something, at the node that delivers it.
    Log(AccountId, NodeId),
    KeyPackages {
        connection: ConnectionId,
        id: u64,
    },
    Resolve {
        connection: ConnectionId,
        id: u64,
    },
}

impl Relay {
    pub(super) fn asked(
        &mut self,
        step: &mut Step<'_, '_>,
        peer: NodeId,
        request: NodeRequest,
    ) -> Result<NodeResponse, Failure> {
        if let NodeRequest::Deliver(_)
        | NodeRequest::Create(_)
        | NodeRequest::Commit(_)
        | NodeRequest::Succeed(_)
        | NodeRequest::Introduce { .. } = request
        {
            self.check_space()?;
        }
        match request {
            NodeRequest::Hello(hello) => {
                // The network has answered it already; what was learnt must stay, even while this node starts.
                self.met(step, peer, hello.incarnation)?;
                match self.own_hello() {
                    Ok(hello) => Ok(NodeResponse::Hello(hello)),
                    Err(Failure::Refused(refusal)) => Ok(NodeResponse::Refused(refusal)),
                    Err(failure) => Err(failure),
                }
            }
            NodeRequest::Deliver(deliver) => self.delivered(step, peer, deliver).map(NodeResponse::Custody),
            NodeRequest::Fetch { feed, from, limit } => {
                self.check_member_node(step, &feed.group, &peer)?;
                Ok(NodeResponse::Entries(feeds::read(step.rows, &feed, from, limit as usize)?))
            }
            NodeRequest::Feeds { group, node } => {
                self.check_member_node(step, &group, &peer)?;
                let held = feeds_of(step, &group, &node)?;
                Ok(NodeResponse::Feeds(held.into_iter().map(|head| head.feed).collect()))
            }
            NodeRequest::Create(creation) => {
                self.may_bring(step, &peer, &creation)?;
                let (head, creation) = self.create_here(step, creation)?;
                Ok(NodeResponse::Created { head, creation })
            }
            NodeRequest::Commit(commit) => {
                self.check_member_node(step, &commit.group, &peer)?;
                self.hear_of_move(step, &commit, peer)?;
                Ok(match self.commit_here(step, &commit)? {
                    Ok(head) => NodeResponse::Committed(head),
                    Err(refusal) => NodeResponse::Refused(refusal),
                })
            }
            NodeRequest::Succeed(successor) => {
                self.check_member_node(step, &successor.commit.group, &peer)?;
                Ok(match self.succeed_here(step, &successor, Some(peer))? {
                    Ok(head) => NodeResponse::Committed(head),
                    Err(refusal) => NodeResponse::Refused(refusal),
                })
            }
            NodeRequest::PublicState { group, epoch, incarnation } => {
                let (group_info, tree) = self.give_state(step, &peer, &group, epoch, incarnation)?;
                Ok(NodeResponse::PublicState { group_info, tree })
            }
            NodeRequest::Equivocation(proof) => {
                self.check_member_node(step, &group_of_proof(&proof)?, &peer)?;
                self.accused(step, &proof)?;
                Ok(NodeResponse::Done)
            }
            NodeRequest::Tree { group, epoch } => {
                // Who joined then may be removed again before its device has asked.
                if !is_home_of_one(step, &participants_at(step, &group, epoch)?, &peer)? {
                    self.check_member_node(step, &group, &peer)?;
                }
                self.tree_of(step, &group, epoch).map(NodeResponse::Tree)
            }
            NodeRequest::Participants { group, epoch, behind } => {
                // Whoever took part then may have left before its home in a new life comes to ask.
                let people = people_of(step, &group_head(step, &group)?, epoch)?;
                if !is_home_of_one(step, &people, &peer)? {
                    self.check_member_node(step, &group, &peer)?;
                }
                self.participants_page(step, &group, epoch, behind).map(NodeResponse::Participants)
            }
            NodeRequest::Introduce { head, creation, lineage } => {
                self.may_show(step, &peer, &creation)?;
                self.introduced_by_node(step, &peer, (&head, &lineage), &creation)?;
                Ok(NodeResponse::Done)
            }
            NodeRequest::KeyPackages { account, requester } => {
                let (log, packages) = self.hand_out_key_packages(step, peer, requester, account)?;
                Ok(NodeResponse::KeyPackages { log, packages })
            }
            // Answered by whoever has the bytes, before it comes here.
            NodeRequest::Blob { .. } => {
                Err(Refusal::later(Code::Internal, "a blob is given elsewhere", "ask again").into())
            }
            NodeRequest::Held(held) => {
                self.held_by(step, peer, held)?;
                Ok(NodeResponse::Done)
            }
            NodeRequest::Whisper { group, accounts, epoch, account, payload } => {
                self.whispered(step, peer, &accounts, Whisper { group, epoch, account, payload })
            }
            NodeRequest::Log { account } => Ok(NodeResponse::Log(accounts::home_log(step, &account)?)),
        }
    }

    pub(super) fn answered(
        &mut self,
        step: &mut Step<'_, '_>,
        token: RequestToken,
        response: Option<NodeResponse>,
    ) -> Result<(), StoreError> {
        let Some(pending) = self.pending.remove(&token) else { return Ok(()) };
        let unreachable = || Refusal::later(Code::Unreachable, "the other node did not answer", "it is tried again");
        match (pending, response) {
            (Pending::Deliver(asked), response) => self.delivery_answered(step, asked, response),
            (Pending::Create { connection, id, creation }, Some(NodeResponse::Created { head, creation: stands })) => {
                match self.created_elsewhere(step, &creation, &head, &stands) {
                    Ok(()) => {
                        self.has_created(step, connection);
                        self.send(connection, ServerFrame::Created { id, head, creation: stands });
                    }
                    Err(Failure::Refused(error)) => {
                        self.send(connection, ServerFrame::Refused { id: Some(id), error });
                    }
                    Err(Failure::Store(error)) => return Err(error),
                }
                Ok(())
            }
            (Pending::Feeds(group, node), Some(NodeResponse::Feeds(feeds))) => {
                self.feeds_told(step, &group, node, feeds)
            }
            // The delivery that was refused is repeated in its time, whatever came of this.
            (Pending::Introduction | Pending::Whisper | Pending::Told | Pending::Feeds(..), _)
            | (Pending::Greeting(_), None) => Ok(()),
            (Pending::Greeting(node), Some(_)) => {
                self.greeted(node, step.now_ms);
                Ok(())
            }
            (Pending::PublicState(group), response) => self.state_told(step, group, response),
            (Pending::Fetched(feed), response) => {
                let entries = match response {
                    Some(NodeResponse::Entries(entries)) => entries,
                    _ => Vec::new(),
                };
                self.fetched(step, &feed, entries)
            }
            (Pending::Succeed { connection, id, group, node }, Some(NodeResponse::Refused(error))) => {
                if error.code == Code::WrongEpoch {
                    self.catch_up(step, &group, node)?;
                }
                self.send(connection, ServerFrame::Refused { id: Some(id), error });
                Ok(())
            }
            (
                Pending::Commit { connection, id } | Pending::Succeed { connection, id, .. },
                Some(NodeResponse::Committed(head)),
            ) => {
                self.send(connection, ServerFrame::Committed { id, head });
                Ok(())
            }
            (Pending::Tree { connection, id, offset }, Some(NodeResponse::Tree(tree))) => {
                self.send(connection, part_of(id, &tree, offset));
                Ok(())
            }
            (Pending::Participants(group, epoch), response) => {
                let logs = match response {
                    Some(NodeResponse::Participants(logs)) => logs,
                    _ => Vec::new(),
                };
                match self.participants_told(step, (group, epoch), &logs) {
                    Ok(()) | Err(Failure::Refused(_)) => Ok(()),
                    Err(Failure::Store(error)) => Err(error),
                }
            }
            (Pending::Log(account, home), response) => {
                self.asking_logs.remove(&account);
                let Some(NodeResponse::Log(log)) = response else { return Ok(()) };
                match self.log_told(step, account, home, &log) {
                    Ok(()) | Err(Failure::Refused(_)) => Ok(()),
                    Err(Failure::Store(error)) => Err(error),
                }
            }
            (Pending::KeyPackages { connection, id }, Some(NodeResponse::KeyPackages { log, packages })) => {
                self.has_fetched(step, connection);
                self.send(connection, ServerFrame::KeyPackages { id, log, packages });
                Ok(())
            }
            (
                Pending::Create { connection, id, .. }
                | Pending::Commit { connection, id }
                | Pending::Succeed { connection, id, .. }
                | Pending::Tree { connection, id, .. }
                | Pending::KeyPackages { connection, id }
                | Pending::Resolve { connection, id },
                response,
            ) => {
                let error = match response {
                    Some(NodeResponse::Refused(refusal)) => refusal,
                    _ => unreachable(),
                };
                self.send(connection, ServerFrame::Refused { id: Some(id), error });
                Ok(())
            }
        }
    }

    pub(super) fn own_hello(&self) -> Result<NodeHello, Failure> {
        let org = self.own_record.clone().ok_or_else(|| {
            Failure::from(Refusal::later(Code::Busy, "this node is starting", "ask again in a moment"))
        })?;
        Ok(NodeHello {
            versions: vec![roost_protocol::VERSION],
            features: roost_protocol::FEATURES.iter().map(|name| (*name).to_owned()).collect(),
            org,
            incarnation: self.identity.incarnation,
        })
    }

    pub(super) fn expect(&mut self, pending: Pending) -> RequestToken {
        let token = self.next_token;
        self.next_token += 1;
        self.pending.insert(token, pending);
        token
    }

    pub(super) fn ask(&mut self, pending: Pending, node: NodeId, request: NodeRequest) {
        let token = self.expect(pending);
        self.outputs.push(Output::Ask(token, node, request));
    }
}
