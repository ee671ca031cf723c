//! The flags of `twinring node`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;

use super::NodeConfig;
use super::fault::{FaultPlan, FaultRule};

/// An in-memory CQL node, for trials and tests: nothing outlives the process.
#[derive(Clone, Debug, clap::Args)]
pub struct NodeArgs {
    /// Address and port to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9042")]
    pub listen: SocketAddr,
    /// What `system.local` gives as cluster name
    #[arg(long, value_name = "NAME", default_value = "twinring-node")]
    pub cluster: String,
    /// What `system.local` gives as data center
    #[arg(long, value_name = "NAME", default_value = "datacenter1")]
    pub data_center: String,
    /// Clients must log in with this name and the password
    #[arg(long, value_name = "NAME", env = "TWINRING_NODE_USERNAME")]
    pub username: Option<String>,
    /// File whose first line is the password
    #[arg(long, value_name = "FILE", requires = "username")]
    pub password_file: Option<PathBuf>,
    /// The password; a file or the environment keeps it out of the process list
    #[arg(
        long,
        value_name = "PASSWORD",
        env = "TWINRING_NODE_PASSWORD",
        hide_env_values = true
    )]
    pub password: Option<String>,
    /// Every answer waits this many milliseconds
    #[arg(long, value_name = "MS", default_value_t = 0)]
    pub latency_ms: u64,
    /// And up to this many more, at random
    #[arg(long, value_name = "MS", default_value_t = 0)]
    pub jitter_ms: u64,
    /// What to do to some requests, for example `table=ks.t,every=10->error=write_timeout`;
    /// may be given several times, the first that matches decides. Conditions: opcode, kind
    /// (read write batch lwt counter schema other), table, text, chance, every, after, times.
    /// Reactions: error=NAME, drop, silence, stall, delay=MS; `,apply` executes before failing
    #[arg(long = "fault", value_name = "RULE")]
    pub faults: Vec<FaultRule>,
    /// File with one rule a line (`#` begins a comment), read again whenever it changes; its
    /// rules stand before those of --fault. A line `stall` stops the reading of all connections
    #[arg(long, value_name = "FILE")]
    pub fault_file: Option<PathBuf>,
}

impl NodeArgs {
    /// The flags as a configuration; reads the password and the fault file.
    ///
    /// # Errors
    /// A file that cannot be read, a rule that cannot be understood, a name without password.
    pub fn to_config(&self) -> anyhow::Result<NodeConfig> {
        let mut config = NodeConfig::new(self.listen);
        config.cluster.clone_from(&self.cluster);
        config.data_center.clone_from(&self.data_center);
        config.credentials = match (&self.username, self.read_password()?) {
            (None, _) => None,
            (Some(name), Some(password)) => Some((name.clone(), password)),
            (Some(_), None) => anyhow::bail!(
                "--username needs --password-file or the variable TWINRING_NODE_PASSWORD"
            ),
        };
        config.faults = self.fault_plan()?;
        Ok(config)
    }

    /// The plan that flags and fault file make now.
    ///
    /// # Errors
    /// The file cannot be read, or a rule in it cannot be understood.
    pub fn fault_plan(&self) -> anyhow::Result<FaultPlan> {
        let mut plan = FaultPlan {
            latency: Duration::from_millis(self.latency_ms),
            jitter: Duration::from_millis(self.jitter_ms),
            rules: Vec::new(),
            stall: false,
        };
        if let Some(path) = &self.fault_file {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("read the fault file {}", path.display()))?;
            let lines = text
                .lines()
                .map(|line| line.split('#').next().unwrap_or("").trim());
            for line in lines.filter(|line| !line.is_empty()) {
                if line == "stall" {
                    plan.stall = true;
                } else {
                    plan.rules.push(line.parse()?);
                }
            }
        }
        plan.rules.extend(self.faults.iter().cloned());
        Ok(plan)
    }

    fn read_password(&self) -> anyhow::Result<Option<String>> {
        let Some(path) = &self.password_file else {
            return Ok(self.password.clone());
        };
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("read the password file {}", path.display()))?;
        Ok(Some(text.lines().next().unwrap_or("").to_owned()))
    }
}
