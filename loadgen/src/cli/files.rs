//! What `--out` leaves in a directory.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Serialize;

use crate::compare::Comparison;
use crate::plan::Plan;
use crate::report::{Latency, Report, hgrm, html};
use crate::sweep::Sweep;

/// A directory for results.
#[derive(Clone, Debug)]
pub struct Files {
    directory: PathBuf,
}

impl Files {
    /// Makes the directory.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn new(directory: &Path) -> anyhow::Result<Files> {
        fs::create_dir_all(directory)
            .with_context(|| format!("make the directory {}", directory.display()))?;
        let directory = directory.to_path_buf();
        Ok(Files { directory })
    }

    /// Where a run's histograms go, second by second.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.directory.join("intervals.hlog")
    }

    /// `report.json`, `report.html`, and `latency.hgrm`, `service.hgrm` and one for each kind.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn run(&self, plan: &Plan, report: &Report) -> anyhow::Result<()> {
        self.json(report)?;
        self.text("report.html", &html::run_page(plan, report))?;
        self.hgrm("latency", &report.latency)?;
        self.hgrm("service", &report.service)?;
        for (kind, latency) in &report.kinds {
            self.hgrm(kind.name(), latency)?;
        }
        Ok(())
    }

    /// `report.json`, `report.html`, and for each endpoint `NAME.hgrm`.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn comparison(&self, plan: &Plan, comparison: &Comparison) -> anyhow::Result<()> {
        self.json(comparison)?;
        self.text("report.html", &html::compare_page(plan, comparison)?)?;
        for (at, name) in comparison.names.iter().enumerate() {
            self.hgrm(&file_name(name), &comparison.merged(at)?)?;
        }
        Ok(())
    }

    /// `report.json` and `report.html`.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn sweep(&self, plan: &Plan, sweep: &Sweep) -> anyhow::Result<()> {
        self.json(sweep)?;
        self.text("report.html", &html::sweep_page(plan, sweep))
    }

    fn json(&self, what: &impl Serialize) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(what)? + "\n";
        self.text("report.json", &text)
    }

    fn hgrm(&self, name: &str, latency: &Latency) -> anyhow::Result<()> {
        let mut bytes = Vec::new();
        hgrm::write(&latency.0, &mut bytes)?;
        self.write(&format!("{name}.hgrm"), &bytes)
    }

    fn text(&self, name: &str, text: &str) -> anyhow::Result<()> {
        self.write(name, text.as_bytes())
    }

    fn write(&self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let path = self.directory.join(name);
        fs::write(&path, bytes).with_context(|| format!("write {}", path.display()))
    }
}

/// An endpoint's name without what a file name cannot have.
fn file_name(name: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_.".contains(c);
    let kept = name.chars().map(|c| if plain(c) { c } else { '_' });
    kept.collect()
}
