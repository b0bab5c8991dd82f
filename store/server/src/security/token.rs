//! A secret that all callers share, in the metadata of each call: `authorization: Bearer TOKEN` (RFC 6750, section 2.1).
//!
//! It is looked at before anything else of a call, and compared in a time that hangs on its length only, so that nobody can
//! guess it letter by letter. It is never part of a log line, an error or a `Debug` text. Health checks need none: those who
//! make them often can send none, and they learn nothing but that the node serves.

use std::fmt;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::header::{AUTHORIZATION, HeaderValue};
use subtle::ConstantTimeEq;
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

use super::{SecurityError, read};

/// Longer ones are of no use, and a header has to have an end.
const MAX_TOKEN_BYTES: usize = 4096;
const SCHEME: &str = "Bearer ";
/// The path of all methods of the standard health service begins so.
const HEALTH: &str = "/grpc.health.v1.Health/";

/// The secret, as the value of the header.
#[derive(Clone)]
pub struct Token {
    header: HeaderValue,
}

impl fmt::Debug for Token {
    /// Without the secret.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token(…)")
    }
}

impl Token {
    /// Reads it from a file, in which it stands alone; white space around it does not count.
    pub(super) fn load(file: &Path) -> Result<Token, SecurityError> {
        let bytes = read("token-file", file)?;
        Token::new(bytes.trim_ascii()).map_err(|detail| SecurityError::NotThat {
            flag: "token-file",
            file: file.to_owned(),
            wanted: "token",
            detail: detail.to_owned(),
        })
    }

    /// A token of visible ASCII characters.
    ///
    /// # Errors
    ///
    /// What is wrong with it, without it.
    pub fn new(secret: &[u8]) -> Result<Token, &'static str> {
        if secret.is_empty() {
            return Err("it is empty");
        }
        if secret.len() > MAX_TOKEN_BYTES {
            return Err("it is longer than 4096 bytes");
        }
        if !secret.iter().all(u8::is_ascii_graphic) {
            return Err("a token is one word of visible ASCII characters");
        }
        let value = [SCHEME.as_bytes(), secret].concat();
        let mut header = HeaderValue::from_bytes(&value).map_err(|_| "it cannot be the value of a header")?;
        // Keeps it out of `Debug` texts and of the tables of header compression.
        header.set_sensitive(true);
        Ok(Token { header })
    }

    /// Puts it into a call.
    pub(super) fn sign<B>(&self, request: &mut http::Request<B>) {
        request.headers_mut().insert(AUTHORIZATION, self.header.clone());
    }

    /// Whether a call carries it; if not, what to reply.
    fn check<B>(&self, request: &http::Request<B>) -> Result<(), &'static str> {
        if request.uri().path().starts_with(HEALTH) {
            return Ok(());
        }
        let Some(shown) = request.headers().get(AUTHORIZATION) else {
            return Err(
                "the call carries no token: this node wants `authorization: Bearer TOKEN` (--token-file)",
            );
        };
        if bool::from(shown.as_bytes().ct_eq(self.header.as_bytes())) {
            Ok(())
        } else {
            Err("the call carries another token than this node's --token-file")
        }
    }
}

/// Lets calls through that carry the token, and answers the others with `UNAUTHENTICATED`, before anything of them is read.
#[derive(Clone, Debug)]
pub struct TokenLayer {
    /// The one.
    pub token: Token,
}

impl<S> Layer<S> for TokenLayer {
    type Service = TokenCheck<S>;

    fn layer(&self, inner: S) -> TokenCheck<S> {
        TokenCheck { token: self.token.clone(), inner }
    }
}

/// See [`TokenLayer`].
#[derive(Clone, Debug)]
pub struct TokenCheck<S> {
    token: Token,
    inner: S,
}

impl<S, B> Service<http::Request<B>> for TokenCheck<S>
where
    S: Service<http::Request<B>, Response = http::Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        match self.token.check(&request) {
            Ok(()) => Box::pin(self.inner.call(request)),
            Err(message) => {
                let reply = Status::unauthenticated(message).into_http();
                Box::pin(std::future::ready(Ok(reply)))
            }
        }
    }
}
