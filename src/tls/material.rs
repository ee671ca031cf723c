//! Certificates, keys and authorities of all three sides, ready for handshakes.

use std::path::Path;
use std::sync::Arc;

use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::bundle::{self, Bundle};
use super::files::{self, Pair, at};
use super::verify::{Anybody, Chain, Clients};
use crate::config::{ClientTls, Identity, ListenerTls, Problem, ProxyConfig, Verify};
use crate::limits;

/// What the three sides need; `None`: plain connections.
#[derive(Clone, Debug, Default)]
pub struct Material {
    /// For clients.
    pub listener: Option<Listener>,
    /// For the source.
    pub source: Option<Outgoing>,
    /// For the target.
    pub target: Option<Outgoing>,
}

/// For connections that clients open.
#[derive(Clone, Debug)]
pub struct Listener {
    /// For [`Secure::server`](super::Secure::server).
    pub config: Arc<ServerConfig>,
    /// When the certificate expires (s since 1970).
    pub expiry_s: i64,
}

/// For connections to a cluster.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// For [`Secure::client`](super::Secure::client).
    pub config: Arc<ClientConfig>,
    /// The name that every node's certificate has; `None`: that of the node.
    pub name: Option<ServerName<'static>>,
    /// When the certificate that is shown there expires (s since 1970); `None`: none is shown.
    pub expiry_s: Option<i64>,
}

impl Material {
    /// Reads every file that the configuration names.
    ///
    /// # Errors
    /// All that is wrong with them, each with its flag, its file and what to do.
    pub fn load(config: &ProxyConfig) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let listener = config.listener_tls.as_ref().map(Listener::load);
        let source = config.source.tls.as_ref().map(Outgoing::load);
        let target = match &config.target.bundle {
            None => config.target.tls.as_ref().map(Outgoing::load),
            Some(bundle) => Some(Outgoing::of_bundle(bundle)),
        };
        let material = Self {
            listener: taken(listener, &mut problems),
            source: taken(source, &mut problems),
            target: taken(target, &mut problems),
        };
        match problems.is_empty() {
            true => Ok(material),
            false => Err(problems),
        }
    }

    /// The same, with sessions to resume of its own for connections to the clusters: what one shard
    /// needs.
    #[must_use]
    pub fn for_one_shard(&self) -> Self {
        Self {
            listener: self.listener.clone(),
            source: self.source.as_ref().map(Outgoing::with_own_sessions),
            target: self.target.as_ref().map(Outgoing::with_own_sessions),
        }
    }
}

fn taken<T>(read: Option<Result<T, Problem>>, problems: &mut Vec<Problem>) -> Option<T> {
    match read? {
        Ok(read) => Some(read),
        Err(problem) => {
            problems.push(problem);
            None
        }
    }
}

impl Listener {
    pub(super) fn load(wanted: &ListenerTls) -> Result<Self, Problem> {
        let pair = files::identity(&wanted.identity)?;
        let expiry_s = expiry_s(&wanted.identity, &pair)?;
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| unfit(&wanted.identity, &error))?;
        let builder = match &wanted.client_authorities {
            None => builder.with_no_client_auth(),
            Some(authorities) => {
                let all = files::authorities(authorities)?;
                let roots = Arc::new(roots(&authorities.flag, &authorities.file, all.clone())?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider());
                let verifier = verifier.build().map_err(|error| {
                    let place = at(&authorities.flag, &authorities.file);
                    Problem::new(place, error.to_string(), "name another file")
                })?;
                builder.with_client_cert_verifier(Arc::new(Clients {
                    inner: verifier,
                    trusted: all,
                }))
            }
        };
        let mut config = builder
            .with_single_cert(pair.chain, pair.key)
            .map_err(|error| unfit(&wanted.identity, &error))?;
        // Tickets hold the session, so any shard can resume it; new files mean new keys for them,
        // and whoever was let in by old authorities has to show a certificate again.
        config.ticketer = ring::Ticketer::new().map_err(|error| unfit(&wanted.identity, &error))?;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Self {
            config: Arc::new(config),
            expiry_s,
        })
    }
}

impl Outgoing {
    /// Reads what one side's configuration names.
    ///
    /// # Errors
    /// What is wrong, with the flag, the file and what to do.
    pub fn load(wanted: &ClientTls) -> Result<Self, Problem> {
        let name = wanted.name.as_deref().map(|name| {
            ServerName::try_from(name.to_owned()).map_err(|_| {
                let place = format!("{} {name}", wanted.name_flag);
                Problem::new(place, "is no name of a host", "write a host name or an IP")
            })
        });
        let name = name.transpose()?;
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| Problem::new("TLS", error.to_string(), "report this"))?;
        let builder = match wanted.verify {
            Verify::Nothing => {
                let verifier = Arc::new(Anybody {
                    provider: provider(),
                });
                builder
                    .dangerous()
                    .with_custom_certificate_verifier(verifier)
            }
            Verify::Full | Verify::Chain => builder
                .dangerous()
                .with_custom_certificate_verifier(chain(wanted, name.clone())?),
        };
        let (mut config, expiry_s) = match &wanted.identity {
            None => (builder.with_no_client_auth(), None),
            Some(identity) => {
                let pair = files::identity(identity)?;
                let expiry_s = expiry_s(identity, &pair)?;
                let config = builder.with_client_auth_cert(pair.chain, pair.key);
                (config.map_err(|e| unfit(identity, &e))?, Some(expiry_s))
            }
        };
        config.resumption = Resumption::in_memory_sessions(limits::TLS_SESSIONS);
        Ok(Self {
            config: Arc::new(config),
            name,
            expiry_s,
        })
    }

    /// For the nodes behind a secure connect bundle: each is asked for by a name of its own (SNI),
    /// and all show certificates with the name of the host in the bundle.
    ///
    /// # Errors
    /// What is wrong with it, and what to do.
    pub fn of_bundle(path: &Path) -> Result<Self, Problem> {
        let bundle = Bundle::read(path)?;
        let wrong = |what: String| bundle::unfit(path, what);
        let name = ServerName::try_from(bundle.host.clone())
            .map_err(|_| wrong(format!("`{}` in its config.json is no host", bundle.host)))?;
        let expiry_s = match bundle
            .chain
            .first()
            .map(|own| x509_parser::parse_x509_certificate(own))
        {
            Some(Ok((_, own))) => Some(own.validity().not_after.timestamp()),
            _ => return Err(wrong("its cert is damaged".to_owned())),
        };
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(bundle.authorities);
        let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
            .build()
            .map_err(|error| wrong(format!("its ca.crt cannot be used: {error}")))?;
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| Problem::new("TLS", error.to_string(), "report this"))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Chain {
                inner,
                trusted: Vec::new(),
                name_counts: true,
                name: Some(name),
            }))
            .with_client_auth_cert(bundle.chain, bundle.key)
            .map_err(|error| wrong(format!("its cert and key cannot be used: {error}")))?;
        config.resumption = Resumption::in_memory_sessions(limits::TLS_SESSIONS);
        Ok(Self {
            config: Arc::new(config),
            name: None,
            expiry_s,
        })
    }

    fn with_own_sessions(&self) -> Self {
        let mut config = ClientConfig::clone(&self.config);
        config.resumption = Resumption::in_memory_sessions(limits::TLS_SESSIONS);
        Self {
            config: Arc::new(config),
            ..self.clone()
        }
    }

    /// The name that a node's certificate must have, if its name is `host`: a name or an IP.
    #[must_use]
    pub fn name_of(&self, host: &str) -> Option<ServerName<'static>> {
        let own = || ServerName::try_from(host.to_owned()).ok();
        self.name.clone().or_else(own)
    }
}

/// What TLS calculates with.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn chain(wanted: &ClientTls, name: Option<ServerName<'static>>) -> Result<Arc<Chain>, Problem> {
    let (roots, trusted) = match &wanted.authorities {
        Some(authorities) => {
            let all = files::authorities(authorities)?;
            let roots = roots(&authorities.flag, &authorities.file, all.clone())?;
            (roots, all)
        }
        None => (system_roots(&wanted.authorities_flag)?, Vec::new()),
    };
    let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build();
    let inner = inner.map_err(|error| {
        let place = wanted.authorities_flag.as_str();
        Problem::new(place, error.to_string(), "name another file")
    })?;
    Ok(Arc::new(Chain {
        inner,
        trusted,
        name_counts: wanted.verify == Verify::Full,
        name,
    }))
}

fn roots(
    flag: &str,
    file: &Path,
    certificates: Vec<CertificateDer<'static>>,
) -> Result<RootCertStore, Problem> {
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(certificates);
    if added == 0 {
        let remedy = "name the certificates of the authorities, X.509 version 3";
        return Err(Problem::new(
            at(flag, file),
            "holds no certificate that can be used",
            remedy,
        ));
    }
    Ok(roots)
}

fn system_roots(flag: &str) -> Result<RootCertStore, Problem> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        let remedy = "name a file, or install the package ca-certificates";
        return Err(Problem::new(
            flag,
            "is not given, and this machine has no authorities of its own",
            remedy,
        ));
    }
    Ok(roots)
}

fn expiry_s(identity: &Identity, pair: &Pair) -> Result<i64, Problem> {
    let first = pair.chain.first().map(AsRef::as_ref).unwrap_or_default();
    match x509_parser::parse_x509_certificate(first) {
        Ok((_, parsed)) => Ok(parsed.validity().not_after.timestamp()),
        Err(error) => Err(unfit(identity, &error)),
    }
}

fn unfit(identity: &Identity, error: &dyn std::fmt::Display) -> Problem {
    let what = format!("certificate and key cannot be used: {error}");
    let remedy = "name a certificate and the key that belongs to it (RSA, ECDSA or Ed25519)";
    Problem::new(at(&identity.flag, &identity.certificate), what, remedy)
}
