//! TLS 1.2 and 1.3, by rustls. With a CA on both sides it is mutual: each side proves that it has a key whose certificate that
//! CA signed, and a client checks besides that the certificate names the host that it wanted (as a DNS name or an IP address
//! among the subject's alternative names). Certificates are read when the process starts: new ones need a restart, one node
//! after the other.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tonic::transport::{Certificate, ClientTlsConfig, Identity, Server, ServerTlsConfig};

use super::{SecurityError, SecurityFiles, read};
use crate::client::transport::chain;

/// Somebody who connects and then says nothing is given up after this time.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// What one side presents, and what it asks of the other.
#[derive(Clone)]
pub struct Tls {
    identity: Option<Identity>,
    ca: Option<Certificate>,
}

impl fmt::Debug for Tls {
    /// Without the key.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (identity, ca) = (self.has_identity(), self.has_ca());
        formatter.debug_struct("Tls").field("identity", &identity).field("ca", &ca).finish()
    }
}

impl Tls {
    /// Reads the files; `None` if there are none.
    pub(super) fn load(files: &SecurityFiles) -> Result<Option<Tls>, SecurityError> {
        let identity = match (&files.tls_certificate, &files.tls_key) {
            (None, None) => None,
            (Some(_), None) => return Err(SecurityError::HalfAnIdentity { missing: "tls-key" }),
            (None, Some(_)) => return Err(SecurityError::HalfAnIdentity { missing: "tls-certificate" }),
            (Some(certificate), Some(key)) => Some(identity(certificate, key)?),
        };
        let ca = files.tls_ca.as_deref().map(|file| certificates("tls-ca", file)).transpose()?;
        let ca = ca.map(Certificate::from_pem);
        Ok((identity.is_some() || ca.is_some()).then_some(Tls { identity, ca }))
    }

    /// Whether there are a certificate and a key.
    #[must_use]
    pub fn has_identity(&self) -> bool {
        self.identity.is_some()
    }

    /// Whether the other side must present what a CA signed.
    #[must_use]
    pub fn has_ca(&self) -> bool {
        self.ca.is_some()
    }

    /// For who listens. Without an identity nobody can connect; see [`super::Security::check_node`].
    #[must_use]
    pub fn server(&self) -> ServerTlsConfig {
        let mut config = ServerTlsConfig::new().timeout(HANDSHAKE_TIMEOUT);
        if let Some(identity) = &self.identity {
            config = config.identity(identity.clone());
        }
        match &self.ca {
            Some(ca) => config.client_ca_root(ca.clone()),
            None => config,
        }
    }

    /// For who connects. Without a CA nobody is trusted.
    #[must_use]
    pub fn client(&self) -> ClientTlsConfig {
        let mut config = ClientTlsConfig::new();
        if let Some(identity) = &self.identity {
            config = config.identity(identity.clone());
        }
        match &self.ca {
            Some(ca) => config.ca_certificate(ca.clone()),
            None => config,
        }
    }
}

/// A certificate and its key, tried once, so that what does not fit is known before anything is served.
fn identity(certificate: &Path, key: &Path) -> Result<Identity, SecurityError> {
    let identity = Identity::from_pem(certificates("tls-certificate", certificate)?, private_key(key)?);
    let trial = ServerTlsConfig::new().identity(identity.clone());
    let fits = Server::builder().tls_config(trial);
    fits.map_err(|error| SecurityError::Unfit {
        certificate: certificate.to_owned(),
        key: key.to_owned(),
        detail: chain(&error),
    })?;
    Ok(identity)
}

/// The file's content, which is at least one certificate.
fn certificates(flag: &'static str, file: &Path) -> Result<Vec<u8>, SecurityError> {
    let wanted = "certificate in PEM";
    let bytes = read(flag, file)?;
    let found: Result<Vec<CertificateDer<'_>>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let detail = match found {
        Ok(found) if !found.is_empty() => return Ok(bytes),
        Ok(_) => "`-----BEGIN CERTIFICATE-----` is not in it".to_owned(),
        Err(error) => error.to_string(),
    };
    Err(SecurityError::NotThat { flag, file: file.to_owned(), wanted, detail })
}

/// The file's content, which is a private key.
fn private_key(file: &Path) -> Result<Vec<u8>, SecurityError> {
    let bytes = read("tls-key", file)?;
    match PrivateKeyDer::from_pem_slice(&bytes) {
        Ok(_) => Ok(bytes),
        Err(rustls_pki_types::pem::Error::NoItemsFound) => {
            Err(not_a_key(file, "`-----BEGIN PRIVATE KEY-----` is not in it".to_owned()))
        }
        Err(error) => Err(not_a_key(file, error.to_string())),
    }
}

fn not_a_key(file: &Path, detail: String) -> SecurityError {
    SecurityError::NotThat {
        flag: "tls-key",
        file: file.to_owned(),
        wanted: "private key in PEM (PKCS#8, PKCS#1 or SEC1, not encrypted)",
        detail,
    }
}

/// What a failed handshake looks like from this side, in words of somebody who wants to mend it.
#[must_use]
pub fn hint(error: &str) -> Option<&'static str> {
    const HINTS: [(&str, &str); 6] = [
        ("InvalidContentType", "the other side speaks plain text: is it started without --tls-certificate?"),
        ("CertificateRequired", "the other side wants a certificate: give --tls-certificate and --tls-key"),
        ("UnknownIssuer", "the CA in --tls-ca has not signed the other side's certificate"),
        ("UnknownCA", "the other side's CA has not signed the certificate in --tls-certificate"),
        ("NotValidForName", "the other side's certificate names other hosts than the address that was used"),
        // An HTTP/2 client reads a TLS alert as the beginning of a frame.
        ("FRAME_SIZE_ERROR", "the other side may speak TLS: give --tls-ca"),
    ];
    HINTS.iter().find(|(sign, _)| error.contains(sign)).map(|(_, hint)| *hint)
}
