//! TLS with a cluster: the proxy's flags, for the offline tools.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use clap::Args;
use clap::builder::BoolishValueParser;
use rustls::ClientConfig;

use crate::config::ConfigError;
use crate::config::tls::Said;
use crate::side::Side;
use crate::tls::Outgoing;

/// Declares the flags of one side; the names are those of the proxy.
macro_rules! flags {
    ($name:ident, $side:literal, $variable:literal) => {
        #[doc = concat!("TLS with the ", $side, ".")]
        #[derive(Clone, Debug, Default, Args)]
        pub struct $name {
            #[doc = "Plain connections [default: true, unless a flag below is given]"]
            #[arg(id = concat!("disable_", $side, "_tls"),
                  long = concat!("disable-", $side, "-tls"), value_name = "BOOL",
                  value_parser = BoolishValueParser::new(),
                  env = concat!("TWINRING_DISABLE_", $variable, "_TLS"))]
            pub disable: Option<bool>,
            #[doc = "Who signs the nodes' certificates: PEM, JKS or PKCS#12"]
            #[arg(id = concat!($side, "_tls_ca"), long = concat!($side, "-tls-ca"),
                  value_name = "FILE", env = concat!("TWINRING_", $variable, "_TLS_CA"))]
            pub ca: Option<PathBuf>,
            #[doc = "Certificate to show: PEM, JKS or PKCS#12"]
            #[arg(id = concat!($side, "_tls_cert"), long = concat!($side, "-tls-cert"),
                  value_name = "FILE", env = concat!("TWINRING_", $variable, "_TLS_CERT"))]
            pub cert: Option<PathBuf>,
            #[doc = "Its key, if it is PEM and in a file of its own"]
            #[arg(id = concat!($side, "_tls_key"), long = concat!($side, "-tls-key"),
                  value_name = "FILE", env = concat!("TWINRING_", $variable, "_TLS_KEY"))]
            pub key: Option<PathBuf>,
            #[doc = "File whose first line is the password of these stores"]
            #[arg(id = concat!($side, "_tls_password_file"),
                  long = concat!($side, "-tls-password-file"), value_name = "FILE",
                  env = concat!("TWINRING_", $variable, "_TLS_PASSWORD_FILE"))]
            pub password_file: Option<PathBuf>,
            #[doc = "What of the nodes' certificates counts: `full` (chain and address), `ca` or \
                     `none` [default: full]"]
            #[arg(id = concat!($side, "_tls_verify"), long = concat!($side, "-tls-verify"),
                  value_name = "WHAT", env = concat!("TWINRING_", $variable, "_TLS_VERIFY"))]
            pub verify: Option<String>,
            #[doc = "Name in all nodes' certificates [default: the node's address]"]
            #[arg(id = concat!($side, "_tls_name"), long = concat!($side, "-tls-name"),
                  value_name = "NAME", env = concat!("TWINRING_", $variable, "_TLS_NAME"))]
            pub name: Option<String>,
        }

        impl $name {
            /// What is meant; `None`: plain connections.
            ///
            /// # Errors
            /// Flags or files that cannot work.
            pub(crate) fn load(&self, side: Side) -> Result<Option<Arc<ClientConfig>>> {
                load(
                    side,
                    Said {
                        disable: self.disable,
                        ca: self.ca.as_deref(),
                        cert: self.cert.as_deref(),
                        key: self.key.as_deref(),
                        password_file: self.password_file.as_deref(),
                        verify: self.verify.as_deref(),
                        name: self.name.as_deref(),
                    },
                )
            }
        }
    };
}

flags!(SourceTlsArgs, "source", "SOURCE");
flags!(TargetTlsArgs, "target", "TARGET");

fn load(side: Side, mut said: Said<'_>) -> Result<Option<Arc<ClientConfig>>> {
    let silent = said.ca.is_none()
        && said.cert.is_none()
        && said.key.is_none()
        && said.verify.is_none()
        && said.name.is_none();
    said.disable = said.disable.or(silent.then_some(true));
    let understood = said.understood(side.label()).map_err(ConfigError::from)?;
    let Some(tls) = understood else {
        return Ok(None);
    };
    let outgoing = Outgoing::load(&tls).map_err(ConfigError::from)?;
    Ok(Some(outgoing.config))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        source: SourceTlsArgs,
        #[command(flatten)]
        target: TargetTlsArgs,
    }

    fn loaded(line: &str) -> (Result<bool>, Result<bool>) {
        let words = std::iter::once("tool").chain(line.split_whitespace());
        let line = <Line as clap::Parser>::try_parse_from(words).unwrap();
        (
            line.source.load(Side::Source).map(|tls| tls.is_some()),
            line.target.load(Side::Target).map(|tls| tls.is_some()),
        )
    }

    #[test]
    fn plain_until_something_is_said_about_tls() {
        let (source, target) = loaded("");
        assert!(!source.unwrap() && !target.unwrap());
        let (source, target) = loaded("--target-tls-verify none");
        assert!(!source.unwrap() && target.unwrap());
        let (source, _) = loaded("--source-tls-verify none --disable-source-tls false");
        assert!(source.unwrap());
    }

    #[test]
    fn what_cannot_work_is_named() {
        let (source, target) =
            loaded("--source-tls-ca /none --target-tls-name x --disable-target-tls true");
        let source = format!("{:#}", source.unwrap_err());
        assert!(
            source.contains("--source-tls-ca /none: cannot be read"),
            "{source}"
        );
        let target = format!("{:#}", target.unwrap_err());
        assert!(
            target.contains("--target-tls-name: has no effect"),
            "{target}"
        );
    }
}
