//! Contact points, passwords, sessions.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use rustls::ClientConfig;
use scylla::client::execution_profile::ExecutionProfile;
use scylla::client::session_builder::SessionBuilder;
use scylla::frame::types::Consistency;
use scylla::policies::retry::FallthroughRetryPolicy;

use super::doors::Doors;
use crate::cloud;
use crate::side::Side;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How to reach one cluster.
#[derive(Clone)]
pub(crate) struct Endpoint<'a> {
    pub side: Side,
    /// Contact points, with or without a port; none with `doors`.
    pub nodes: &'a [String],
    /// Port of contact points without one.
    pub port: u16,
    pub username: Option<&'a str>,
    pub password: Option<String>,
    /// TLS; `None`: plain connections.
    pub tls: Option<Arc<ClientConfig>>,
    /// Its nodes are behind a secure connect bundle.
    pub doors: Option<Doors>,
}

impl Endpoint<'_> {
    /// The contact points, each with its port.
    fn contacts(&self) -> impl Iterator<Item = String> {
        self.nodes.iter().map(|node| with_port(node, self.port))
    }

    /// Where the cluster is, for a person.
    pub(crate) fn place(&self) -> String {
        match &self.doors {
            None => self.contacts().collect::<Vec<_>>().join(", "),
            Some(doors) => format!("the nodes of {}", doors.bundle().display()),
        }
    }

    /// A builder of sessions that never repeat a request by themselves: whether one may be sent
    /// again is for the tool to decide. The schema is the tool's to read: one column anywhere of a
    /// type that the library does not know would keep it from learning tokens and nodes.
    pub(crate) fn builder(&self, consistency: Consistency) -> SessionBuilder {
        let profile = ExecutionProfile::builder()
            .retry_policy(Arc::new(FallthroughRetryPolicy))
            .request_timeout(Some(REQUEST_TIMEOUT))
            .consistency(consistency)
            .build();
        let builder = SessionBuilder::new()
            .known_nodes(self.contacts())
            .connection_timeout(CONNECT_TIMEOUT)
            .tls_context(self.tls.clone())
            .auto_await_schema_agreement(false)
            .fetch_full_schema_metadata(false)
            .default_execution_profile_handle(profile.into_handle());
        let builder = match &self.doors {
            None => builder,
            Some(doors) => doors.apply(builder),
        };
        match (self.username, &self.password) {
            (Some(user), Some(password)) => builder.user(user, password),
            _ => builder,
        }
    }

    /// What to say when no session could be opened.
    pub(crate) fn unreachable(&self) -> String {
        let (side, place) = (self.side, self.place());
        if let Some(doors) = &self.doors {
            return match doors.failure() {
                Some(why) => format!("cannot reach the {side} at {place}: {why}; {}", cloud::MEND),
                None => format!(
                    "cannot use the {side} at {place}; are --{side}-username and the password \
                     right?"
                ),
            };
        }
        format!(
            "cannot reach the {side} at {place}{}; is it up, and are --{side}-port, \
             --{side}-username and the password right?",
            match self.tls {
                Some(_) => format!(" with TLS (see --{side}-tls-ca, --{side}-tls-name)"),
                None => String::new(),
            }
        )
    }
}

/// The password of a side: from its file, or from `TWINRING_<SIDE>_PASSWORD`.
///
/// Fails when the file cannot be read, or when there is a user without a password.
pub(crate) fn password(
    side: Side,
    file: Option<&Path>,
    username: Option<&str>,
) -> Result<Option<String>> {
    if let Some(path) = file {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the password from {}", path.display()))?;
        return Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()));
    }
    let variable = format!("TWINRING_{}_PASSWORD", side.label().to_uppercase());
    let from_env = std::env::var(&variable).ok();
    if username.is_some() && from_env.is_none() {
        anyhow::bail!(
            "--{side}-username needs a password: give --{side}-password-file or set {variable}"
        );
    }
    Ok(from_env)
}

fn with_port(node: &str, port: u16) -> String {
    let is_bare_v6 = node.matches(':').count() > 1 && !node.starts_with('[');
    let has_port = !is_bare_v6
        && node
            .rsplit_once(':')
            .is_some_and(|(_, p)| !p.ends_with(']'));
    match (is_bare_v6, has_port) {
        (true, _) => format!("[{node}]:{port}"),
        (false, true) => node.to_owned(),
        (false, false) => format!("{node}:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::with_port;

    #[test]
    fn contact_points_get_the_port_that_they_lack() {
        assert_eq!(with_port("10.0.0.1", 9042), "10.0.0.1:9042");
        assert_eq!(with_port("db.example:9142", 9042), "db.example:9142");
        assert_eq!(with_port("::1", 9042), "[::1]:9042");
        assert_eq!(with_port("[::1]", 9042), "[::1]:9042");
        assert_eq!(with_port("[::1]:9142", 9042), "[::1]:9142");
    }
}
