//! Reads a token range page by page; pages adapt to the size of the rows.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use scylla::deserialize::row::ColumnIterator;
use scylla::errors::ExecutionError;
use scylla::response::query_result::QueryRowsResult;
use scylla::response::{PagingState, PagingStateResponse};
use scylla::statement::prepared::PreparedStatement;
use tokio::time::{Instant, sleep};

use super::cells::Row;
use super::complaint::Complaint;
use super::ends::{Cluster, Ends};
use super::now_s;
use super::select::Select;
use super::send::{Failure, KeyRow, backoff};
use super::throttle::Throttle;
use super::tokens::TokenRange;
use crate::limits;

/// How long a page is tried.
const GIVE_UP: Duration = Duration::from_secs(60);

/// Reads one pass over a table from one cluster.
pub(crate) struct Scanner {
    cluster: Arc<Cluster>,
    throttle: Arc<Throttle>,
    complaint: Complaint,
    range: PreparedStatement,
    one: PreparedStatement,
    pub select: Select,
}

/// Rows that came in one answer.
pub(crate) struct Page {
    rows: QueryRowsResult,
    /// The second when they were asked for.
    pub read_s: i64,
}

/// Where a range is read on.
pub(crate) struct Place {
    range: TokenRange,
    state: Option<PagingState>,
    page_rows: i32,
}

impl Place {
    pub(crate) fn start(range: TokenRange) -> Place {
        Place {
            range,
            state: Some(PagingState::start()),
            page_rows: limits::SCAN_FIRST_PAGE_ROWS,
        }
    }
}

impl Page {
    /// Calls `each` with every row.
    pub(crate) fn each(
        &self,
        select: &Select,
        mut each: impl FnMut(&Row<'_>) -> Result<()>,
    ) -> Result<()> {
        let mut columns = Vec::new();
        let mut row = Row::default();
        for raw in self.rows.rows::<ColumnIterator<'_, '_>>()? {
            columns.clear();
            for column in raw? {
                columns.push(column?.slice.map(|slice| slice.as_slice()));
            }
            if row.decode(select, &columns, self.read_s)? {
                each(&row)?;
            }
        }
        Ok(())
    }

    /// Rows in it.
    pub(crate) fn len(&self) -> usize {
        self.rows.rows_num()
    }

    /// Size of its rows.
    pub(crate) fn bytes(&self) -> usize {
        self.rows.rows_bytes_size()
    }
}

impl Scanner {
    /// One at the source and one at the target.
    pub(crate) async fn both(
        ends: &Ends,
        [source, target]: [&Arc<Throttle>; 2],
        complaint: &Complaint,
        select: &Select,
    ) -> Result<[Scanner; 2]> {
        let at = |cluster: &Arc<Cluster>, throttle: &Arc<Throttle>| {
            let (cluster, throttle) = (cluster.clone(), throttle.clone());
            Scanner::new(cluster, throttle, complaint.clone(), select.clone())
        };
        Ok([
            at(&ends.source, source).await?,
            at(&ends.target, target).await?,
        ])
    }

    pub(crate) async fn new(
        cluster: Arc<Cluster>,
        throttle: Arc<Throttle>,
        complaint: Complaint,
        select: Select,
    ) -> Result<Scanner> {
        Ok(Scanner {
            range: cluster.prepare(&select.range_text).await?,
            one: cluster.prepare(&select.one_text).await?,
            cluster,
            throttle,
            complaint,
            select,
        })
    }

    /// The next page; none after the last.
    pub(crate) async fn next(&self, place: &mut Place) -> Result<Option<Page>, Failure> {
        let Some(state) = place.state.take() else {
            return Ok(None);
        };
        let began = Instant::now();
        let mut tries = 0;
        loop {
            let mut statement = self.range.clone();
            statement.set_page_size(place.page_rows);
            let permit = self.throttle.acquire().await;
            let read_s = now_s();
            let bounds = (place.range.after, place.range.up_to);
            let session = &self.cluster.session;
            let answer = session
                .execute_single_page(&statement, bounds, state.clone())
                .await;
            drop(permit);
            let error = match answer {
                Ok((answer, more)) => {
                    self.throttle.succeeded();
                    let page = Page {
                        rows: answer.into_rows_result().map_err(no_rows)?,
                        read_s,
                    };
                    place.advance(&page, more);
                    self.throttle.rows(page.len()).await;
                    return Ok(Some(page));
                }
                Err(error) => error,
            };
            tries += 1;
            self.after(&error, tries, began).await?;
            // A page that timed out may have been too much work.
            place.page_rows = (place.page_rows / 2).max(1);
        }
    }

    /// Reads one row (or the statics of one partition) by its key; none if it is not there.
    pub(crate) async fn one(&self, key: &[u8]) -> Result<Page, Failure> {
        let began = Instant::now();
        let mut tries = 0;
        loop {
            let permit = self.throttle.acquire().await;
            let read_s = now_s();
            let session = &self.cluster.session;
            let answer = session.execute_unpaged(&self.one, KeyRow(key)).await;
            drop(permit);
            let error = match answer {
                Ok(answer) => {
                    self.throttle.succeeded();
                    let rows = answer.into_rows_result().map_err(no_rows)?;
                    return Ok(Page { rows, read_s });
                }
                Err(error) => error,
            };
            tries += 1;
            self.after(&error, tries, began).await?;
        }
    }

    /// Waits until a request may be sent again; fails when it will not be.
    async fn after(
        &self,
        error: &ExecutionError,
        tries: u32,
        began: Instant,
    ) -> Result<(), Failure> {
        let side = self.cluster.side;
        let failure = Failure::of(side, error);
        if failure.is_final || began.elapsed() > GIVE_UP {
            return Err(failure);
        }
        self.throttle.pushed_back();
        self.complaint.again(side, &failure, tries);
        sleep(failure.wait.unwrap_or_else(|| backoff(tries))).await;
        Ok(())
    }
}

impl Place {
    fn advance(&mut self, page: &Page, more: PagingStateResponse) {
        self.state = match more {
            PagingStateResponse::HasMorePages { state } => Some(state),
            PagingStateResponse::NoMorePages => None,
        };
        if page.len() > 0 {
            let row_bytes = page.bytes().div_ceil(page.len()).max(1);
            let rows = i32::try_from(limits::SCAN_PAGE_BYTES / row_bytes).unwrap_or(i32::MAX);
            // Rows further on may be larger: grow step by step.
            let most = limits::SCAN_PAGE_ROWS_MAX.min(self.page_rows.saturating_mul(4));
            self.page_rows = rows.clamp(1, most);
        }
    }
}

fn no_rows(error: impl std::fmt::Display) -> Failure {
    Failure::odd(format!("an answer without rows: {error}"))
}

/// The value of the first column of the only row.
pub(crate) async fn scalar<T>(cluster: &Cluster, text: &str) -> Result<Option<T>>
where
    T: for<'f, 'm> scylla::deserialize::value::DeserializeValue<'f, 'm>,
{
    let answer = cluster.session.query_unpaged(text, &[]).await;
    let rows = answer
        .with_context(|| text.to_owned())?
        .into_rows_result()?;
    Ok(rows.maybe_first_row::<(T,)>()?.map(|(value,)| value))
}
