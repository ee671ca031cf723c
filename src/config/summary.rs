//! A valid configuration in a few lines: for `--check` and for the log. Holds no secret.

use std::fmt;

use super::{Cluster, Discovery, Durability, ProxyConfig, Topology, Verify};

impl ProxyConfig {
    fn tell_listener(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.listener_tls {
            None => writeln!(
                f,
                "  clients    {}, in plain: no certificate is given",
                self.listen
            )?,
            Some(tls) => {
                let file = tls.identity.certificate.display();
                write!(f, "  clients    {}, TLS with {file}", self.listen)?;
                match &tls.client_authorities {
                    None => writeln!(f)?,
                    Some(own) => writeln!(f, ", certificates by {}", own.file.display())?,
                }
            }
        }
        Ok(())
    }
}

impl fmt::Display for ProxyConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tell_listener(f)?;
        match self.admin {
            Some(admin) => writeln!(f, "  metrics    http://{admin}/metrics")?,
            None => writeln!(f, "  metrics    off")?,
        }
        writeln!(f, "  source     {}", self.source)?;
        writeln!(f, "  target     {}", self.target)?;
        match &self.discovery {
            None if self.target.bundle.is_some() => {
                writeln!(f, "  its nodes  those of the bundle")?
            }
            None => writeln!(f, "  its nodes  those named alone")?,
            Some(Discovery { data_center }) => match data_center {
                None => writeln!(f, "  its nodes  found, of the data centre that answers")?,
                Some(name) => writeln!(f, "  its nodes  found, of data centre {name}")?,
            },
        }
        if let Some(own) = &self.source_credentials {
            let user = &own.username;
            writeln!(
                f,
                "  reads back {user}, with its own password, at the source"
            )?;
        }
        match &self.target_credentials {
            Some(own) => writeln!(f, "  target as  {}, with its own password", own.username)?,
            None => writeln!(f, "  target as  the client")?,
        }
        match &self.topology {
            Topology::Single => writeln!(f, "  drivers    see this proxy as the only node")?,
            Topology::PerNode { ghost_ips } => writeln!(
                f,
                "  drivers    see a proxy on each node, {} addresses exchanged",
                ghost_ips.len()
            )?,
            Topology::Ring { proxies, own } => writeln!(
                f,
                "  drivers    see {} proxies as the ring, this one as {}",
                proxies.len(),
                proxies[*own]
            )?,
        }
        writeln!(f, "  cores      {:?}", self.cores)?;
        writeln!(
            f,
            "  journal    {}, at most {} MiB for each shard",
            match self.journal.durability {
                Durability::Process => "survives the death of the process",
                Durability::Machine => "survives the death of the machine",
                Durability::None => "none: what is in memory dies with the process",
            },
            self.journal.bytes >> 20
        )?;
        write!(
            f,
            "  spill      {}, at most {} MiB",
            self.data_dir.display(),
            self.spill.max_bytes >> 20
        )
    }
}

impl fmt::Display for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(bundle) = &self.bundle {
            return write!(f, "{} by the bundle {}", self.identifier, bundle.display());
        }
        write!(f, "{} at ", self.identifier)?;
        for (at, point) in self.contact_points.iter().enumerate() {
            if at > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{point}")?;
        }
        let Some(tls) = &self.tls else {
            return f.write_str(", in plain");
        };
        let by = match &tls.authorities {
            Some(own) => own.file.display().to_string(),
            None => "this machine's authorities".to_owned(),
        };
        match tls.verify {
            Verify::Full => write!(f, ", TLS, verified by {by}")?,
            Verify::Chain => write!(f, ", TLS, verified by {by} but for the name")?,
            Verify::Nothing => f.write_str(", TLS, not verified")?,
        }
        match &tls.identity {
            Some(own) => write!(f, ", as {}", own.certificate.display()),
            None => Ok(()),
        }
    }
}
