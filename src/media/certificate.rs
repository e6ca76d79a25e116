//! The DTLS certificate of this process, and the check of the other side's.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};
use sha2::{Digest, Sha256};

use crate::sdp::Fingerprint;

/// A certificate with its private key, made once at start. `Debug` shows neither.
pub(super) struct Certificate {
    /// Certificate, then key: as `dtlssrtpdec`'s property `pem` takes it.
    pem: String,
    fingerprint: Fingerprint,
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificate").finish_non_exhaustive()
    }
}

impl Certificate {
    /// Makes an ECDSA P-256 certificate: `webrtcbin`'s own one is RSA 2048, which takes 100 ms to make and which str0m callers refuse.
    ///
    /// # Errors
    /// When there is no randomness.
    pub(super) fn make() -> Result<Self, rcgen::Error> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        // The name is seen by whoever is called and says nothing of this machine.
        params.distinguished_name.push(DnType::CommonName, "WebRTC");
        let certificate = params.self_signed(&key)?;
        let fingerprint = Fingerprint(Sha256::digest(certificate.der()).into());
        Ok(Self { pem: format!("{}{}", certificate.pem(), key.serialize_pem()), fingerprint })
    }

    /// Certificate and private key. Never to be logged.
    pub(super) fn pem(&self) -> &str {
        &self.pem
    }

    /// SHA-256 of the certificate's DER. GStreamer 1.22 hashes certificate *and key* into its SDP, so ours replaces that.
    pub(super) fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }
}

/// The fingerprint of the first certificate in `pem`; `None` when there is none.
pub(super) fn fingerprint_of(pem: &str) -> Option<Fingerprint> {
    let (_, rest) = pem.split_once("-----BEGIN CERTIFICATE-----")?;
    let (body, _) = rest.split_once("-----END CERTIFICATE-----")?;
    let body: String = body.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    let der = STANDARD.decode(body).ok()?;
    Some(Fingerprint(Sha256::digest(der).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fingerprint_is_that_of_the_certificate_alone() {
        let certificate = Certificate::make().unwrap();
        assert_eq!(fingerprint_of(certificate.pem()), Some(certificate.fingerprint()));
    }

    #[test]
    fn two_certificates_have_two_fingerprints() {
        assert_ne!(Certificate::make().unwrap().fingerprint(), Certificate::make().unwrap().fingerprint());
    }

    #[test]
    fn what_is_no_certificate_has_no_fingerprint() {
        for pem in ["", "-----BEGIN CERTIFICATE-----", "-----BEGIN CERTIFICATE-----\n%%\n-----END CERTIFICATE-----"] {
            assert_eq!(fingerprint_of(pem), None);
        }
    }

    #[test]
    fn debug_shows_no_key() {
        let text = format!("{:?}", Certificate::make().unwrap());
        assert_eq!(text, "Certificate { .. }");
    }
}
