//! What holds a journal's bytes: a mapped file (`crate::sys`), or a heap for tests and simulations.

use std::fmt::Debug;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::format::{Geometry, Header, PAGE_BYTES};

/// The data of a journal, as its owner sees it.
pub trait Memory: Debug + Send {
    /// All blocks, one after the other.
    fn bytes(&mut self) -> &mut [u8];

    /// Makes sure that a block and its state words can be written without waiting for memory; the
    /// block was never used before.
    ///
    /// # Errors
    /// There is no memory left: the words of the system, for the log.
    fn prepare(&mut self, block: usize) -> Result<(), String>;
}

/// The state words of a journal. Each record's word has one writer at a time, whichever thread.
pub trait Words: Debug + Send + Sync {
    /// All words.
    fn words(&self) -> &[AtomicU64];
}

impl Words for Vec<AtomicU64> {
    fn words(&self) -> &[AtomicU64] {
        self
    }
}

/// A journal's memory on the heap. It outlives the [`Memory`] that it lends: dropping that one is
/// what the death of a process is to a file.
#[derive(Debug, Clone)]
pub struct Heap {
    header: Header,
    /// Where the data is while it is not lent.
    home: Rc<Receiver<Vec<u8>>>,
    give_back: SyncSender<Vec<u8>>,
    words: Arc<Vec<AtomicU64>>,
}

#[derive(Debug)]
struct Lent {
    bytes: Vec<u8>,
    give_back: SyncSender<Vec<u8>>,
}

impl Heap {
    /// Empty memory for a journal with this header.
    #[must_use]
    pub fn new(header: Header) -> Self {
        let words = (0..header.geometry.words()).map(|_| AtomicU64::new(0));
        let (give_back, home) = sync_channel(1);
        let _ = give_back.try_send(vec![0; header.geometry.data_bytes()]);
        Self {
            header,
            home: Rc::new(home),
            give_back,
            words: Arc::new(words.collect()),
        }
    }

    /// Lends the data to a journal, until that is dropped.
    #[must_use]
    pub fn lend(&self) -> Box<dyn Memory> {
        Box::new(Lent {
            bytes: self.home.try_recv().unwrap_or_default(),
            give_back: self.give_back.clone(),
        })
    }

    /// The state words.
    #[must_use]
    pub fn words(&self) -> Arc<dyn Words> {
        self.words.clone()
    }

    /// The bytes that a file would hold now. The data must not be lent.
    #[must_use]
    pub fn image(&self) -> Vec<u8> {
        let mut image = self.header.page();
        for word in self.words.iter() {
            image.extend_from_slice(&word.load(Ordering::Relaxed).to_le_bytes());
        }
        image.resize(self.header.geometry.data_at(), 0);
        if let Ok(data) = self.home.try_recv() {
            image.extend_from_slice(&data);
            let _ = self.give_back.try_send(data);
        }
        image
    }
}

impl Memory for Lent {
    fn bytes(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    fn prepare(&mut self, _block: usize) -> Result<(), String> {
        Ok(())
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let _ = self.give_back.try_send(std::mem::take(&mut self.bytes));
    }
}

/// Cuts the bytes of a journal file into state words and data. A file that was cut short has fewer
/// of them than its header says.
#[must_use]
pub fn cut(file: &[u8], geometry: Geometry) -> (Vec<u64>, &[u8]) {
    let end = PAGE_BYTES + geometry.words() * size_of::<u64>();
    let words = file
        .get(PAGE_BYTES..end.min(file.len()))
        .unwrap_or_default();
    let words = words
        .chunks_exact(size_of::<u64>())
        .map(|word| u64::from_le_bytes(word.try_into().unwrap_or_default()))
        .collect();
    (words, file.get(geometry.data_at()..).unwrap_or_default())
}
