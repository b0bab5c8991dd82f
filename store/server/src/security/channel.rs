//! An endpoint and a connection that carry TLS and token. Without either they are tonic's own, but for one comparison per call.

use std::task::{Context, Poll};

use tonic::body::Body;
use tonic::transport::{Channel, Endpoint, Error};
use tower::Service;

use super::{Security, Token};

/// Where to connect, and how.
#[derive(Clone, Debug)]
pub struct SecureEndpoint {
    endpoint: Endpoint,
    token: Option<Token>,
}

impl SecureEndpoint {
    /// The node at `address` (`host:port`).
    ///
    /// # Errors
    ///
    /// If the address cannot be one, or its host cannot be named by a certificate.
    pub fn new(address: &str, security: &Security) -> Result<SecureEndpoint, Error> {
        let scheme = if security.tls.is_some() { "https" } else { "http" };
        let mut endpoint = Endpoint::from_shared(format!("{scheme}://{address}"))?;
        if let Some(tls) = &security.tls {
            endpoint = endpoint.tls_config(tls.client())?;
        }
        Ok(SecureEndpoint { endpoint, token: security.token.clone() })
    }

    /// Changes what has nothing to do with security.
    #[must_use]
    pub fn map(self, change: impl FnOnce(Endpoint) -> Endpoint) -> SecureEndpoint {
        SecureEndpoint { endpoint: change(self.endpoint), token: self.token }
    }

    /// Connects.
    ///
    /// # Errors
    ///
    /// If nobody listens, or the handshake failed.
    pub async fn connect(&self) -> Result<SecureChannel, Error> {
        let channel = self.endpoint.connect().await?;
        Ok(SecureChannel { channel, token: self.token.clone() })
    }
}

/// A connection whose calls carry the token, if there is one.
#[derive(Clone, Debug)]
pub struct SecureChannel {
    channel: Channel,
    token: Option<Token>,
}

impl Service<http::Request<Body>> for SecureChannel {
    type Response = <Channel as Service<http::Request<Body>>>::Response;
    type Error = Error;
    type Future = <Channel as Service<http::Request<Body>>>::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Service::poll_ready(&mut self.channel, context)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        if let Some(token) = &self.token {
            token.sign(&mut request);
        }
        self.channel.call(request)
    }
}
