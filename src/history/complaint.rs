//! Says what the requests for a table fail of while they are tried again: once, in the words of the
//! cluster, so that nobody waits for minutes without knowing for what.

use std::sync::Arc;

use super::progress::Progress;
use super::schema::Table;
use super::send::Failure;
use crate::limits;
use crate::side::Side;

/// What is said of one table.
#[derive(Clone)]
pub(crate) struct Complaint {
    table: String,
    progress: Arc<Progress>,
}

impl Complaint {
    pub(crate) fn new(table: &Table, progress: &Arc<Progress>) -> Complaint {
        Complaint {
            table: table.shown(),
            progress: progress.clone(),
        }
    }

    /// A request has failed so many times and will be sent again.
    pub(crate) fn again(&self, side: Side, failure: &Failure, tries: u32) {
        if tries >= limits::COMPLAINT_TRIES {
            let about = format!("{} at the {side}", self.table);
            self.progress.warn_once(about, || self.line(side, failure));
        }
    }

    fn line(&self, side: Side, failure: &Failure) -> String {
        let advice = match failure.lacks_replicas {
            true => format!(
                "; if these replicas stay away, choose a --{side}-consistency that needs fewer \
                 of them, such as local-one"
            ),
            false => String::new(),
        };
        format!("{}: {failure}; trying again{advice}", self.table)
    }
}
