//! TLS as the operator wants it: which files, who is trusted, which names. The files themselves are
//! read by [`tls`](crate::tls), at the start and whenever they change.

use std::path::{Path, PathBuf};

use super::build::Check;
use super::error::Problem;
use super::{ProxyConfig, Secret, Settings};

/// What the seed proxy takes for `--proxy-jks-password` if nothing is said, as `keytool` does.
const JKS_PASSWORD_DEFAULT: &str = "changeit";

/// A certificate and its key: two PEM files, one with both, or a JKS or PKCS#12 store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The flag that names the certificate.
    pub flag: String,
    /// The certificate with its chain, or the store.
    pub certificate: PathBuf,
    /// The flag that names the key.
    pub key_flag: String,
    /// The key; `None`: it is in the same file.
    pub key: Option<PathBuf>,
    /// The store's password.
    pub password: Option<Secret>,
}

/// The certificates of those who are trusted: PEM, or a JKS or PKCS#12 store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorities {
    /// The flag that names the file.
    pub flag: String,
    /// The file.
    pub file: PathBuf,
    /// The store's password.
    pub password: Option<Secret>,
}

/// TLS with clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerTls {
    /// What clients are shown.
    pub identity: Identity,
    /// Who signs the certificates that clients must show; `None`: they show none.
    pub client_authorities: Option<Authorities>,
}

/// What a node's certificate must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    /// Signed by somebody who is trusted, and with the node's name or address in it.
    Full,
    /// Signed by somebody who is trusted.
    Chain,
    /// Anything.
    Nothing,
}

/// TLS with a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientTls {
    /// The flag that names the authorities.
    pub authorities_flag: String,
    /// Who is trusted; `None`: whom this machine trusts.
    pub authorities: Option<Authorities>,
    /// What nodes are shown if they ask.
    pub identity: Option<Identity>,
    /// What of their certificates counts.
    pub verify: Verify,
    /// The flag that names the name.
    pub name_flag: String,
    /// The name in all nodes' certificates; `None`: each has its own name or address.
    pub name: Option<String>,
}

/// What was said about TLS with one cluster; the same flags for the proxy and for the offline
/// tools.
#[derive(Clone, Copy, Debug, Default)]
pub struct Said<'a> {
    /// `--disable-SIDE-tls`.
    pub disable: Option<bool>,
    /// `--SIDE-tls-ca`.
    pub ca: Option<&'a Path>,
    /// `--SIDE-tls-cert`.
    pub cert: Option<&'a Path>,
    /// `--SIDE-tls-key`.
    pub key: Option<&'a Path>,
    /// `--SIDE-tls-password-file`, of the stores that the others name.
    pub password_file: Option<&'a Path>,
    /// `--SIDE-tls-verify`.
    pub verify: Option<&'a str>,
    /// `--SIDE-tls-name`.
    pub name: Option<&'a str>,
}

impl Said<'_> {
    /// What is meant; `None`: plain connections. On by default, as in the seed proxy.
    ///
    /// # Errors
    /// What does not fit together.
    pub fn understood(&self, side: &str) -> Result<Option<ClientTls>, Problem> {
        let flag = |name: &str| format!("--{side}-tls-{name}");
        if self.disable == Some(true) {
            let more = [
                ("ca", self.ca.is_some()),
                ("cert", self.cert.is_some()),
                ("key", self.key.is_some()),
                ("verify", self.verify.is_some()),
                ("name", self.name.is_some()),
            ];
            return match more.iter().find(|(_, given)| *given) {
                None => Ok(None),
                Some((name, _)) => Err(Problem::new(
                    flag(name),
                    format!("has no effect with --disable-{side}-tls true"),
                    "remove one of the two",
                )),
            };
        }
        let password = self
            .password_file
            .map(|file| secret_from(&flag("password-file"), file))
            .transpose()?;
        let authorities = self.ca.map(|file| Authorities {
            flag: flag("ca"),
            file: file.to_owned(),
            password: password.clone(),
        });
        let identity = match (self.cert, self.key) {
            (None, None) => None,
            (None, Some(_)) => {
                let remedy = format!("name the certificate with {}", flag("cert"));
                return Err(Problem::new(flag("key"), "has no certificate", remedy));
            }
            (Some(certificate), key) => Some(Identity {
                flag: flag("cert"),
                certificate: certificate.to_owned(),
                key_flag: flag("key"),
                key: key.map(Path::to_owned),
                password,
            }),
        };
        let verify = match self.verify {
            None | Some("full") => Verify::Full,
            Some("ca") => Verify::Chain,
            Some("none") => Verify::Nothing,
            Some(other) => {
                let what = format!("`{other}` is not known");
                return Err(Problem::new(
                    flag("verify"),
                    what,
                    "choose full, ca or none",
                ));
            }
        };
        if verify == Verify::Nothing && authorities.is_some() {
            let what = format!("has no effect with {} none", flag("verify"));
            return Err(Problem::new(flag("ca"), what, "remove one of the two"));
        }
        Ok(Some(ClientTls {
            authorities_flag: flag("ca"),
            authorities,
            identity,
            verify,
            name_flag: flag("name"),
            name: self.name.map(str::to_owned),
        }))
    }
}

impl ProxyConfig {
    /// All files that TLS needs.
    #[must_use]
    pub fn tls_files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let mut identity = |own: &Identity| {
            files.push(own.certificate.clone());
            files.extend(own.key.clone());
        };
        let listener = self.listener_tls.as_ref();
        let clusters = [&self.source, &self.target].map(|cluster| cluster.tls.as_ref());
        listener.iter().for_each(|tls| identity(&tls.identity));
        for tls in clusters.iter().flatten() {
            tls.identity.iter().for_each(&mut identity);
        }
        let authorities = listener.and_then(|tls| tls.client_authorities.as_ref());
        let trusted = clusters.iter().flatten();
        let trusted = trusted.filter_map(|tls| tls.authorities.as_ref());
        files.extend(
            authorities
                .into_iter()
                .chain(trusted)
                .map(|a| a.file.clone()),
        );
        files.extend(self.target.bundle.clone());
        files
    }
}

impl Check {
    /// TLS with a cluster.
    pub(super) fn client_tls(&mut self, side: &str, s: &Settings) -> Option<ClientTls> {
        let said = if side == "source" {
            Said {
                disable: s.disable_source_tls,
                ca: s.source_tls_ca.as_deref(),
                cert: s.source_tls_cert.as_deref(),
                key: s.source_tls_key.as_deref(),
                password_file: s.source_tls_password_file.as_deref(),
                verify: s.source_tls_verify.as_deref(),
                name: s.source_tls_name.as_deref(),
            }
        } else {
            Said {
                disable: s.disable_target_tls,
                ca: s.target_tls_ca.as_deref(),
                cert: s.target_tls_cert.as_deref(),
                key: s.target_tls_key.as_deref(),
                password_file: s.target_tls_password_file.as_deref(),
                verify: s.target_tls_verify.as_deref(),
                name: s.target_tls_name.as_deref(),
            }
        };
        let understood = said.understood(side).unwrap_or_else(|problem| {
            self.add(problem);
            None
        });
        if let Some(tls) = &understood
            && tls.verify == Verify::Nothing
        {
            self.notices.push(format!(
                "--{side}-tls-verify none: anybody who can answer at the {side}'s address can read \
                 and change what goes there"
            ));
        }
        understood
    }

    /// TLS with clients: on when there is a certificate, as in the seed proxy.
    pub(super) fn listener_tls(&mut self, s: &Settings) -> Option<ListenerTls> {
        let password = self.listener_password(s);
        let identity = match (&s.proxy_pem_certfile, &s.proxy_jks_file) {
            (Some(_), Some(_)) => {
                self.wrong(
                    "--proxy-jks-file",
                    "a certificate is given twice, as PEM and as a store",
                    "remove one of the two",
                );
                return None;
            }
            (None, None) => {
                self.without_certificate(s);
                return None;
            }
            (Some(certificate), None) => Identity {
                flag: "--proxy-pem-certfile".to_owned(),
                certificate: certificate.clone(),
                key_flag: "--proxy-pem-keyfile".to_owned(),
                key: s.proxy_pem_keyfile.clone(),
                password: None,
            },
            (None, Some(store)) => Identity {
                flag: "--proxy-jks-file".to_owned(),
                certificate: store.clone(),
                key_flag: "--proxy-pem-keyfile".to_owned(),
                key: None,
                password: password.clone(),
            },
        };
        let client_authorities = s.proxy_client_ca.clone().map(|file| Authorities {
            flag: "--proxy-client-ca".to_owned(),
            file,
            password,
        });
        Some(ListenerTls {
            identity,
            client_authorities,
        })
    }

    /// Whatever only makes sense with a certificate.
    fn without_certificate(&mut self, s: &Settings) {
        let more = [
            ("--proxy-pem-keyfile", s.proxy_pem_keyfile.is_some()),
            ("--proxy-client-ca", s.proxy_client_ca.is_some()),
        ];
        for (flag, _) in more.iter().filter(|(_, given)| *given) {
            self.wrong(
                flag,
                "there is no certificate for clients",
                "name it with --proxy-pem-certfile, or a store with --proxy-jks-file",
            );
        }
    }

    fn listener_password(&mut self, s: &Settings) -> Option<Secret> {
        match (&s.proxy_jks_password, &s.proxy_jks_password_file) {
            (Some(_), Some(_)) => {
                self.wrong(
                    "--proxy-jks-password-file",
                    "the password is given twice, by value and by file",
                    "keep the file and remove --proxy-jks-password or TWINRING_PROXY_JKS_PASSWORD",
                );
                None
            }
            (None, None) => {
                let store = s.proxy_jks_file.is_some();
                store.then(|| Secret::new(JKS_PASSWORD_DEFAULT))
            }
            (said, None) => said.clone(),
            (None, Some(file)) => match secret_from("--proxy-jks-password-file", file) {
                Ok(secret) => Some(secret),
                Err(problem) => {
                    self.add(problem);
                    None
                }
            },
        }
    }
}

/// The first line of a file.
pub(super) fn secret_from(flag: &str, file: &Path) -> Result<Secret, Problem> {
    let place = format!("{flag} {}", file.display());
    let text = std::fs::read_to_string(file).map_err(|e| {
        let remedy = "name a file whose first line is the password, readable by this user";
        Problem::new(&place, format!("cannot be read: {e}"), remedy)
    })?;
    let first = text.lines().next().unwrap_or_default();
    if first.is_empty() {
        let what = "the first line is empty";
        return Err(Problem::new(place, what, "put the password there, alone"));
    }
    Ok(Secret::new(first))
}
