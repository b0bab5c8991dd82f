//! Who may talk to a node, and to whom a node or a client is willing to talk: TLS and a token, both optional, both read once
//! from files when a process starts. A node uses the same files for its clients and for its links to the peers.
//!
//! - [`tls`]: certificate, key and certificate authority (CA). A node that has a CA takes only who presents a certificate which
//!   that CA signed, client or peer;
//! - [`token`]: a secret that every call but health checks must carry. Without TLS everybody on the way can read it;
//! - [`channel`]: an endpoint and a connection that carry both.
//!
//! Neither is of use against somebody who has the files: there are no roles, who may call may call everything.

pub mod channel;
pub mod tls;
pub mod token;

use std::path::{Path, PathBuf};

use clap::Args;
use thiserror::Error;

pub use channel::{SecureChannel, SecureEndpoint};
pub use tls::Tls;
pub use token::{Token, TokenLayer};

/// Where certificate, key, CA and token are, all optional; also the flags of a client.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct SecurityFiles {
    /// The certificate to present, in PEM; its intermediates follow it.
    #[arg(long, value_name = "FILE")]
    pub tls_certificate: Option<PathBuf>,
    /// The certificate's private key, in PEM.
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// Who must have signed the other side's certificate, in PEM. Switches a client's TLS on.
    #[arg(long, value_name = "FILE")]
    pub tls_ca: Option<PathBuf>,
    /// The file with the token, which stands alone in it; white space around it does not count.
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
}

/// What was read from the files. By default neither TLS nor a token.
#[derive(Clone, Debug, Default)]
pub struct Security {
    /// If there is none, everything goes in plain text.
    pub tls: Option<Tls>,
    /// If there is none, none is sent and none is asked for.
    pub token: Option<Token>,
}

impl Security {
    /// Reads the files.
    ///
    /// # Errors
    ///
    /// If one cannot be read or is not what it should be, or if a certificate comes without its key.
    pub fn load(files: &SecurityFiles) -> Result<Security, SecurityError> {
        let token = files.token_file.as_deref().map(Token::load).transpose()?;
        Ok(Security { tls: Tls::load(files)?, token })
    }

    /// What follows if this is a node's: it needs a certificate for TLS and, since it is a client of its peers, a CA as well.
    ///
    /// # Errors
    ///
    /// If one of them is missing.
    pub fn check_node(&self, has_peers: bool) -> Result<(), SecurityError> {
        match &self.tls {
            Some(tls) if !tls.has_identity() => Err(SecurityError::NoIdentity),
            Some(tls) if has_peers && !tls.has_ca() => Err(SecurityError::NoCa),
            _ => Ok(()),
        }
    }
}

/// The files are of no use.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SecurityError {
    /// One cannot be read.
    #[error("cannot read --{flag} {file}: {detail}")]
    Unreadable {
        /// Which.
        flag: &'static str,
        /// Where.
        file: PathBuf,
        /// What the system said.
        detail: String,
    },
    /// It holds something else.
    #[error("--{flag} {file} holds no {wanted}: {detail}")]
    NotThat {
        /// Which.
        flag: &'static str,
        /// Where.
        file: PathBuf,
        /// What it should hold.
        wanted: &'static str,
        /// What is wrong.
        detail: String,
    },
    /// A certificate without its key, or the other way round.
    #[error("--tls-certificate and --tls-key belong together: --{missing} is missing")]
    HalfAnIdentity {
        /// What is missing.
        missing: &'static str,
    },
    /// Each for itself is all right.
    #[error("the certificate in {certificate} cannot be used with the key in {key}: {detail}")]
    Unfit {
        /// The certificate.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
        /// Why.
        detail: String,
    },
    /// A node with a CA only.
    #[error("a node with --tls-ca needs --tls-certificate and --tls-key as well")]
    NoIdentity,
    /// A node with peers and nothing to know them by.
    #[error("nodes of one cluster check each other's certificates: --tls-certificate needs --tls-ca as well")]
    NoCa,
}

/// The content of the file that a flag names.
fn read(flag: &'static str, file: &Path) -> Result<Vec<u8>, SecurityError> {
    std::fs::read(file).map_err(|error| SecurityError::Unreadable {
        flag,
        file: file.to_owned(),
        detail: error.to_string(),
    })
}
