//! What a session offers of being woken while it is away.

use super::Session;
use crate::core::Recipient;
use crate::core::push::{PushReport, PushSubscription, PushTestReport};
use crate::error::Error;
use roost_protocol::Bytes;
use std::time::Duration;

impl Session {
    /// Where this device is to be woken; `None`: nowhere. Returns when the home knows, or has said no.
    ///
    /// # Errors
    /// [`Error::NotPossible`], [`Error::Refused`]; after [`Error::TimedOut`] the home is told when it can be; [`Error::Closed`].
    pub async fn set_push(&self, to: Option<PushSubscription>, timeout: Duration) -> Result<PushReport, Error> {
        self.with(move |device, _, _| device.set_push(to)).await?;
        self.push_settled(timeout).await
    }

    /// Whether this device is not woken for a conversation. Returns as [`Self::set_push`].
    ///
    /// # Errors
    /// As [`Self::set_push`]; [`Error::UnknownPerson`], [`Error::UnknownConversation`].
    pub async fn set_push_muted(&self, of: &Recipient, muted: bool, timeout: Duration) -> Result<PushReport, Error> {
        let of = of.clone();
        self.with(move |device, _, _| device.set_push_muted(&of, muted)).await?;
        self.push_settled(timeout).await
    }

    /// How it stands.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub async fn push_report(&self) -> Result<PushReport, Error> {
        self.with(|device, _, _| Ok(device.push_report()?)).await
    }

    /// The key that the home proves itself with to push services.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::TimedOut`], [`Error::Closed`].
    pub async fn push_key(&self, timeout: Duration) -> Result<Bytes, Error> {
        self.with(|device, _, _| {
            device.want_push_key();
            Ok(())
        })
        .await?;
        let key = self.awaited(timeout, |device| Ok(device.push_key()));
        key.await?.map_err(Error::Refused)
    }

    /// Has the home push once, and says how far that came.
    ///
    /// # Errors
    /// As [`Self::push_key`].
    pub async fn test_push(&self, timeout: Duration) -> Result<PushTestReport, Error> {
        self.with(|device, _, _| {
            device.test_push();
            Ok(())
        })
        .await?;
        self.awaited(timeout, |device| Ok(device.push_tested())).await?.map_err(Error::Refused)
    }

    async fn push_settled(&self, timeout: Duration) -> Result<PushReport, Error> {
        let settled = self.awaited(timeout, |device| {
            let report = device.push_report()?;
            Ok((report.known || report.error.is_some()).then_some(report))
        });
        let report = settled.await?;
        match &report.error {
            Some(error) if !error.later => Err(Error::Refused(error.clone())),
            _ => Ok(report),
        }
    }

    /// Waits until the device has something.
    async fn awaited<T: Send + 'static>(
        &self,
        timeout: Duration,
        look: impl Fn(&mut crate::core::Device) -> Result<Option<T>, Error> + Copy + Send + 'static,
    ) -> Result<T, Error> {
        let mut changes = self.changes.clone();
        let found = async {
            loop {
                changes.borrow_and_update();
                if let Some(found) = self.with(move |device, _, _| look(device)).await? {
                    return Ok(found);
                }
                changes.changed().await.map_err(|_| Error::Closed)?;
            }
        };
        tokio::time::timeout(timeout, found).await.unwrap_or(Err(Error::TimedOut))
    }
}
