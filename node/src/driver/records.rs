//! The node's own records: the organisation and its accounts, signed, told to peers and published again every few hours.
//! Implements `docs/protocol.md`, section "Directory records".

use super::{Command, NodeHandle, Stopped, now_ms};
use crate::network::Network;
use crate::publisher::Offer;
use crate::relay::Input;
use roost_protocol::codec;
use roost_protocol::gossip::DirectoryChange;
use roost_protocol::limits;
use roost_protocol::peer::NodeHello;
use roost_protocol::records::{NameClaim, NameClaims, NodeAddress, OrgRecord, RecordKey, SignedOrgRecord};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::oneshot;

/// Pause between two publications of the node's own records and its accounts' logs.
const REPUBLISH: Duration = Duration::from_secs(6 * 3600);

impl NodeHandle {
    /// Tells the network where this node's bridge is, publishes the organisation and the accounts; then the node is ready.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn announce(&self, web: &str) -> Result<(), Stopped> {
        self.renew(web).await?;
        let (flushed, flush) = oneshot::channel();
        self.send(Command::Flush(flushed)).await?;
        flush.await.map_err(|_| Stopped)?;
        self.shared.ready.store(true, Ordering::Relaxed);
        let (handle, web) = (self.clone(), web.to_owned());
        tokio::spawn(async move {
            loop {
                handle.publish_org(&handle.own_record(&web).await);
                // The next round comes after this one and no sooner than its time.
                let time = tokio::time::sleep(REPUBLISH);
                if handle.publish_accounts().await.is_err() {
                    break;
                }
                time.await;
                if handle.renew(&web).await.is_err() {
                    break;
                }
            }
        });
        Ok(())
    }

    /// Publishes all accounts, page by page, as the publisher has room.
    async fn publish_accounts(&self) -> Result<(), Stopped> {
        let mut from = None;
        loop {
            let (next, page) = oneshot::channel();
            self.send(Command::Republish { from, next }).await?;
            from = page.await.map_err(|_| Stopped)?;
            if from.is_none() {
                return Ok(());
            }
            self.shared.publisher.room().await;
        }
    }

    /// Signs the organisation's record anew and says it to peers and to the rules.
    async fn renew(&self, web: &str) -> Result<(), Stopped> {
        let record = self.own_record(web).await;
        let hello = NodeHello {
            versions: vec![roost_protocol::VERSION],
            features: roost_protocol::FEATURES.iter().map(|name| (*name).to_owned()).collect(),
            org: record.clone(),
            incarnation: self.shared.incarnation,
        };
        self.shared.network.set_hello(hello).map_err(|_| Stopped)?;
        self.input(Input::OwnRecord(record)).await
    }

    async fn own_record(&self, web: &str) -> SignedOrgRecord {
        let config = &self.shared.config;
        let now_s = now_ms() / 1000;
        // A clock that was ahead has signed with a number that is still to come; what follows must be newer all the same.
        let newest = self.shared.network.newest_seq(RecordKey::Org(self.org())).await.unwrap_or(0);
        let record = OrgRecord {
            root: config.org_key.public_key(),
            name: config.name.clone(),
            nodes: vec![NodeAddress {
                node: self.node(),
                addrs: self.shared.listen.iter().take(limits::NODE_ADDRESSES_MAX).cloned().collect(),
                web: web.to_owned(),
                region: config.region.clone(),
                weight: 100,
            }],
            seq: now_s.max(newest.saturating_add(1)),
            expires: now_s + limits::RECORD_LIFE_S,
        };
        SignedOrgRecord::sign(&record, &config.org_key, &[&config.node_key])
    }

    fn publish_org(&self, record: &SignedOrgRecord) {
        let config = &self.shared.config;
        let now_s = now_ms() / 1000;
        let claim = NameClaim {
            root: config.org_key.public_key(),
            name: config.name.clone(),
            seq: now_s,
            expires: now_s + limits::RECORD_LIFE_S,
        };
        let claim = claim.sign(&config.org_key);
        let change = DirectoryChange::Org { record: Some(record.clone()), claim: Some(claim.clone()) };
        let claims = NameClaims(vec![claim]);
        for (key, value, change) in [
            (RecordKey::Org(self.org()), codec::encode(record), None),
            (RecordKey::of_name(&config.name), codec::encode(&claims), Some(Box::new(change))),
        ] {
            self.shared.publisher.offer(Offer { key, value, news: true, change });
        }
    }
}

/// A hint that is lost costs a lookup.
pub(super) fn announce(network: &Network, change: DirectoryChange) {
    if let Err(error) = network.announce(change) {
        tracing::debug!(%error, "a change was not told to other nodes");
    }
}
