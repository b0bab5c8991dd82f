//! Certificates for one run of a test, made on the spot, so that none expires.

use std::fs;
use std::path::{Path, PathBuf};

use labrys_store::security::SecurityFiles;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// A certificate authority that keeps its files in a directory of its own.
pub struct Authority {
    directory: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub fn new(directory: &Path, name: &str) -> Authority {
        let directory = directory.join(name);
        fs::create_dir_all(&directory).unwrap();
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        fs::write(directory.join("ca.pem"), parameters.self_signed(&key).unwrap().pem()).unwrap();
        Authority { directory, issuer: Issuer::new(parameters, key) }
    }

    pub fn certificate(&self) -> PathBuf {
        self.directory.join("ca.pem")
    }

    /// The files of somebody called `name`, whose certificate, for these hosts, this authority has signed.
    pub fn sign(&self, name: &str, hosts: &[&str]) -> SecurityFiles {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let mut parameters = CertificateParams::new(hosts).unwrap();
        parameters.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        let [certificate_file, key_file] =
            ["pem", "key"].map(|extension| self.directory.join(format!("{name}.{extension}")));
        fs::write(&certificate_file, certificate.pem()).unwrap();
        fs::write(&key_file, key.serialize_pem()).unwrap();
        SecurityFiles {
            tls_certificate: Some(certificate_file),
            tls_key: Some(key_file),
            tls_ca: Some(self.certificate()),
            token_file: None,
        }
    }
}
