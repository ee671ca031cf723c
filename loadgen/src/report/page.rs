//! One self-contained HTML page: text, tables and charts, nothing loaded from elsewhere.

use std::fmt::Write;
use std::fs;

use super::svg::escape;

/// What stands above everything.
#[derive(Clone, Debug)]
pub struct Head {
    /// The page's title.
    pub title: String,
    /// One sentence below it.
    pub subtitle: String,
    /// What to say when nothing is wrong.
    pub verdict: &'static str,
    /// Why the figures do not count; empty: they do.
    pub invalid: Vec<String>,
    /// What makes them less than exact.
    pub warnings: Vec<String>,
}

/// A table: headings, then rows of cells.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// Above the columns.
    pub head: Vec<String>,
    /// The first cell of a row is its name.
    pub rows: Vec<Vec<String>>,
}

/// A page that grows from top to bottom.
#[derive(Debug)]
pub struct Page {
    html: String,
}

const STYLE: &str = include_str!("page.css");

impl Page {
    /// Begins a page.
    #[must_use]
    pub fn new(head: &Head) -> Page {
        let mut html = String::from("<!doctype html>\n<html lang=\"en\"><head>");
        html.push_str("<meta charset=\"utf-8\">");
        html.push_str("<meta name=\"viewport\" content=\"width=device-width\">");
        let title = escape(&head.title);
        let _ = write!(
            html,
            "<title>{title}</title><style>{STYLE}</style></head><body>\n<h1>{title}</h1>\
             <p class=\"sub\">{}</p>\n",
            escape(&head.subtitle)
        );
        let _ = match head.invalid.is_empty() {
            true => write!(
                html,
                "<p><span class=\"verdict\">valid</span> {}</p>",
                escape(head.verdict)
            ),
            false => write!(
                html,
                "<p><span class=\"verdict bad\">INVALID</span> It does not count:</p>"
            ),
        };
        let mut page = Page { html };
        page.list(&head.invalid, " class=\"bad\"");
        if !head.warnings.is_empty() {
            page.html.push_str("<p>Read with care:</p>");
            page.list(&head.warnings, "");
        }
        page
    }

    fn list(&mut self, items: &[String], class: &str) {
        if items.is_empty() {
            return;
        }
        let _ = write!(self.html, "<ul{class}>");
        for item in items {
            let _ = write!(self.html, "<li>{}</li>", escape(item));
        }
        self.html.push_str("</ul>\n");
    }

    /// A heading.
    pub fn heading(&mut self, text: &str) {
        let _ = writeln!(self.html, "<h2>{}</h2>", escape(text));
    }

    /// A paragraph of explanation.
    pub fn note(&mut self, text: &str) {
        let _ = writeln!(self.html, "<p class=\"note\">{}</p>", escape(text));
    }

    /// Something drawn already.
    pub fn drawing(&mut self, svg: &str) {
        self.html.push_str(svg);
    }

    /// A table of figures.
    pub fn table(&mut self, table: &Table) {
        self.html.push_str("<table><thead><tr>");
        for cell in &table.head {
            let _ = write!(self.html, "<th>{}</th>", escape(cell));
        }
        self.html.push_str("</tr></thead><tbody>");
        self.rows(&table.rows);
        self.html.push_str("</tbody></table>\n");
    }

    /// Names and what they are.
    pub fn facts(&mut self, facts: &[(String, String)]) {
        self.html.push_str("<table class=\"facts\"><tbody>");
        let rows: Vec<Vec<String>> = facts
            .iter()
            .map(|(name, value)| vec![name.clone(), value.clone()])
            .collect();
        self.rows(&rows);
        self.html.push_str("</tbody></table>\n");
    }

    fn rows(&mut self, rows: &[Vec<String>]) {
        for row in rows {
            self.html.push_str("<tr>");
            for cell in row {
                let _ = write!(self.html, "<td>{}</td>", escape(cell));
            }
            self.html.push_str("</tr>");
        }
    }

    /// The whole page.
    #[must_use]
    pub fn finish(mut self) -> String {
        self.html.push_str("</body></html>\n");
        self.html
    }
}

/// The machine and the program, for a page that is read elsewhere later.
#[must_use]
pub fn host_facts() -> Vec<(String, String)> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == "model name").then(|| value.trim().to_owned())
    });
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = read("/proc/loadavg");
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let fact = |name: &str, value: String| (name.to_owned(), value);
    vec![
        fact("loadgen", env!("CARGO_PKG_VERSION").to_owned()),
        fact("command", format!("loadgen {}", arguments.join(" "))),
        fact(
            "kernel",
            read("/proc/sys/kernel/osrelease").trim().to_owned(),
        ),
        fact(
            "processor",
            format!("{}, {cores} cores", model.unwrap_or_default()),
        ),
        fact(
            "load average at the end",
            load.split_whitespace()
                .take(3)
                .collect::<Vec<_>>()
                .join(" "),
        ),
    ]
}
