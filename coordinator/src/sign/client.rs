//! The connection to the signer, over its Unix socket.

use std::path::{Path, PathBuf};

use hyper_util::rt::TokioIo;
use rpmfarm_proto::v1;
use rpmfarm_proto::v1::signer_client::SignerClient as Client;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

/// Headers are some kilobytes, the kernel's some megabytes; in bytes.
const MAX_MESSAGE: usize = 40 << 20;

/// A client of the signer. Connects when it is first used, and again when the signer was away.
#[derive(Debug, Clone)]
pub struct SignerClient {
    channel: Channel,
    socket: PathBuf,
}

impl SignerClient {
    /// A client of the signer that listens on this socket.
    ///
    /// # Panics
    /// Must be called within a tokio runtime.
    #[must_use]
    pub fn new(socket: &Path) -> Self {
        let path = socket.to_owned();
        let connect = tower::service_fn(move |_| {
            let path = path.clone();
            async move { tokio::net::UnixStream::connect(path).await.map(TokioIo::new) }
        });
        // The address is not used: the connector knows the socket.
        let endpoint = Endpoint::from_static("http://signer");
        Self { channel: endpoint.connect_with_connector_lazy(connect), socket: socket.to_owned() }
    }

    fn client(&self) -> Client<Channel> {
        Client::new(self.channel.clone()).max_encoding_message_size(MAX_MESSAGE)
    }

    fn explain(&self, status: Status) -> anyhow::Error {
        match status.code() {
            tonic::Code::Unavailable => anyhow::anyhow!(
                "the signer does not answer at {}: {}; is rpmfarm-signer running?",
                self.socket.display(),
                status.message()
            ),
            _ => anyhow::anyhow!("the signer refused: {}", status.message()),
        }
    }

    /// Signs a header.
    ///
    /// # Errors
    /// When the signer refuses or does not answer.
    pub async fn sign_header(
        &self,
        request: v1::SignHeaderRequest,
    ) -> anyhow::Result<v1::Signature> {
        let answer = self.client().sign_header(request).await;
        Ok(answer.map_err(|status| self.explain(status))?.into_inner())
    }

    /// Signs a small file.
    ///
    /// # Errors
    /// When the signer refuses or does not answer.
    pub async fn sign_file(
        &self,
        key: &str,
        purpose: &str,
        data: Vec<u8>,
    ) -> anyhow::Result<v1::Signature> {
        let request =
            v1::SignFileRequest { key: key.into(), purpose: purpose.into(), data: data.into() };
        let answer = self.client().sign_file(request).await;
        Ok(answer.map_err(|status| self.explain(status))?.into_inner())
    }

    /// The public part of a key.
    ///
    /// # Errors
    /// When there is no such key or the signer does not answer.
    pub async fn public_key(&self, key: &str) -> anyhow::Result<v1::PublicKey> {
        let answer = self.client().get_key(v1::GetKeyRequest { key: key.into() }).await;
        Ok(answer.map_err(|status| self.explain(status))?.into_inner())
    }
}
