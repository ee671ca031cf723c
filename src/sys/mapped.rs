//! A file mapped into memory, in two parts: words that any thread may load and store, and data that
//! one owner writes. What is stored survives the process, whatever ends it.
//!
//! The parts do not overlap, so the borrow checker's view of each is the truth. Nobody else may
//! write to or shorten the file while it is mapped: it is private to the user (0600), and whoever
//! maps it holds a lock. A file that is shortened none the less ends the process with SIGBUS.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// Where the two parts lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Where the words begin: a multiple of 8.
    pub words_at: usize,
    /// How many words of 8 bytes there are.
    pub words: usize,
    /// Where the data begins, behind the words.
    pub data_at: usize,
    /// Length of the data, up to the end of the file.
    pub data_bytes: usize,
}

impl Layout {
    fn is_sound(&self) -> bool {
        let words_end = self
            .words
            .checked_mul(size_of::<u64>())
            .and_then(|bytes| bytes.checked_add(self.words_at));
        self.words_at.is_multiple_of(align_of::<AtomicU64>())
            && words_end.is_some_and(|end| end <= self.data_at)
            && self.data_at.checked_add(self.data_bytes).is_some()
    }
}

/// The mapping itself; ends with the last of those that use it.
#[derive(Debug)]
struct Mapping {
    at: NonNull<u8>,
    length: usize,
    layout: Layout,
    file: Arc<File>,
}

// SAFETY: the memory belongs to no thread. The words are atomics; the data is reached only through
// the one `MappedFile`, by the rules of its borrows.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

/// The owner's end: the data.
#[derive(Debug)]
pub struct MappedFile(Arc<Mapping>);

/// The words, for any thread.
#[derive(Debug, Clone)]
pub struct MappedWords(Arc<Mapping>);

impl MappedFile {
    /// Makes a file (0600) of zeros with `front` at its beginning, and maps it. It takes room only
    /// where it is written to or [prepared](Self::prepare).
    ///
    /// # Errors
    /// There is such a file, or what else the system says.
    pub fn create(path: &Path, front: &[u8], layout: Layout) -> io::Result<Self> {
        let file = options().create_new(true).mode(0o600).open(path)?;
        file.set_len((layout.data_at + layout.data_bytes) as u64)?;
        file.write_all_at(front, 0)?;
        Self::map(file, layout)
    }

    /// Maps a file that is there. A shorter one has fewer words and less data than `layout` says.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(path: &Path, mut layout: Layout) -> io::Result<Self> {
        let file = options().open(path)?;
        let length = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
        let room = length.saturating_sub(layout.words_at) / size_of::<u64>();
        layout.words = layout.words.min(room);
        layout.data_bytes = layout.data_bytes.min(length.saturating_sub(layout.data_at));
        layout.data_at = layout.data_at.min(length);
        Self::map(file, layout)
    }

    fn map(file: File, layout: Layout) -> io::Result<Self> {
        let length = layout.data_at + layout.data_bytes;
        if !layout.is_sound() || length == 0 {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        // SAFETY: a new mapping at an address of the kernel's choice, of a file that is open.
        let at = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let at = NonNull::new(at.cast()).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(Self(Arc::new(Mapping {
            at,
            length,
            layout,
            file: Arc::new(file),
        })))
    }

    /// The words, for any thread.
    #[must_use]
    pub fn words(&self) -> MappedWords {
        MappedWords(Arc::clone(&self.0))
    }

    /// The file itself, for bringing to the disk what was stored.
    #[must_use]
    pub fn file(&self) -> Arc<File> {
        Arc::clone(&self.0.file)
    }

    /// The data.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        let Layout {
            data_at,
            data_bytes,
            ..
        } = self.0.layout;
        // SAFETY: the range lies in the mapping, which `self` keeps; only `data_mut` of this one
        // owner gives it out to be written.
        let start = unsafe { self.0.at.as_ptr().add(data_at) };
        // SAFETY: as above; any bytes are valid.
        unsafe { std::slice::from_raw_parts(start, data_bytes) }
    }

    /// The data, to be written.
    #[inline]
    pub fn data_mut(&mut self) -> &mut [u8] {
        let Layout {
            data_at,
            data_bytes,
            ..
        } = self.0.layout;
        // SAFETY: the range lies in the mapping, which `self` keeps.
        let start = unsafe { self.0.at.as_ptr().add(data_at) };
        // SAFETY: `MappedFile` is not `Clone` and the words lie elsewhere, so nobody else has a
        // reference into the data while `self` is borrowed.
        unsafe { std::slice::from_raw_parts_mut(start, data_bytes) }
    }

    /// Takes room and memory for a range of the data and one of the words, so that writing there
    /// neither waits nor fails.
    ///
    /// # Errors
    /// The file system is full, or what else the system says.
    pub fn prepare(&mut self, data: Range<usize>, words: Range<usize>) -> io::Result<()> {
        let layout = self.0.layout;
        let data = layout.data_at + data.start..layout.data_at + data.end;
        let word = |index: usize| layout.words_at + index * size_of::<u64>();
        self.0.populate(word(words.start)..word(words.end))?;
        self.0.populate(data)
    }

    /// Fills the file with zeros behind `from`, so that later writes change no metadata, and brings
    /// it to the disk.
    ///
    /// # Errors
    /// What the system says.
    pub fn fill(&mut self, from: usize) -> io::Result<()> {
        let zeros = vec![0; 1 << 20];
        let mut at = from;
        while at < self.0.length {
            let piece = zeros.get(..(self.0.length - at).min(zeros.len()));
            let piece = piece.unwrap_or_default();
            self.0.file.write_all_at(piece, at as u64)?;
            at += piece.len();
        }
        self.0.file.sync_all()
    }
}

impl Mapping {
    fn populate(&self, range: Range<usize>) -> io::Result<()> {
        if range.start > range.end || range.end > self.length {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        let offset = |at: usize| libc::off_t::try_from(at).unwrap_or(libc::off_t::MAX);
        let (start, length) = (offset(range.start), offset(range.len()));
        // SAFETY: takes no memory; a range inside of the file, whose length does not change.
        let room = unsafe { libc::fallocate(self.file.as_raw_fd(), 0, start, length) };
        if room != 0 {
            let error = io::Error::last_os_error();
            // a file system that cannot reserve is used as it is
            if error.raw_os_error() != Some(libc::EOPNOTSUPP) {
                return Err(error);
            }
        }
        let from = range.start / PAGE_BYTES * PAGE_BYTES;
        // SAFETY: the address lies in the mapping.
        let address = unsafe { self.at.as_ptr().add(from) };
        let length = range.end - from;
        // SAFETY: whole pages of the mapping; what is in them does not change.
        let told = unsafe { libc::madvise(address.cast(), length, libc::MADV_POPULATE_WRITE) };
        if told != 0 {
            let error = io::Error::last_os_error();
            if error.raw_os_error() != Some(libc::EINVAL) {
                return Err(error); // EINVAL: a kernel before 5.14, which takes pages at their use
            }
        }
        Ok(())
    }
}

const PAGE_BYTES: usize = 4096;

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `map` with this length, and nobody has a reference into it any more.
        unsafe { libc::munmap(self.at.as_ptr().cast(), self.length) };
    }
}

impl MappedWords {
    /// All words.
    #[inline]
    #[must_use]
    pub fn get(&self) -> &[AtomicU64] {
        let Layout {
            words_at, words, ..
        } = self.0.layout;
        // SAFETY: the range lies in the mapping, which `self` keeps.
        let start = unsafe { self.0.at.as_ptr().add(words_at) };
        // SAFETY: aligned (the mapping to a page, the offset checked), any bits are valid, and this
        // part of the mapping is only ever reached as atomics.
        unsafe { std::slice::from_raw_parts(start.cast(), words) }
    }
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .custom_flags(libc::O_NOFOLLOW);
    options
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::sync::atomic::Ordering;

    const LAYOUT: Layout = Layout {
        words_at: 4096,
        words: 16,
        data_at: 8192,
        data_bytes: 16_384,
    };

    #[test]
    fn what_is_stored_is_in_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("map");
        let mut map = MappedFile::create(&path, b"front", LAYOUT).unwrap();
        map.prepare(0..16_384, 0..16).unwrap();
        map.data_mut()[1] = 7;
        map.words().get()[2].store(9, Ordering::Release);
        map.file().sync_data().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes.len(), 8192 + 16_384);
        assert_eq!(&bytes[..5], b"front");
        assert_eq!((bytes[4096 + 16], bytes[8193]), (9, 7));
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert!(MappedFile::create(&path, b"", LAYOUT).is_err());
        drop(map);
        let map = MappedFile::open(&path, LAYOUT).unwrap();
        assert_eq!(
            (map.data()[1], map.words().get()[2].load(Ordering::Acquire)),
            (7, 9)
        );
    }

    #[test]
    fn a_file_that_was_cut_short_has_less() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("map");
        drop(MappedFile::create(&path, b"front", LAYOUT).unwrap());
        for length in [0u64, 5, 4096, 4100, 4111, 8192, 8200] {
            let file = OpenOptions::new().write(true).open(&path).unwrap();
            file.set_len(length).unwrap();
            let Ok(map) = MappedFile::open(&path, LAYOUT) else {
                assert!(length < 4096);
                continue;
            };
            let room = usize::try_from(length).unwrap();
            assert_eq!(
                map.words().get().len(),
                (room.saturating_sub(4096) / 8).min(16)
            );
            assert_eq!(map.data().len(), room.saturating_sub(8192));
            assert!(map.data().iter().all(|byte| *byte == 0));
        }
    }

    #[test]
    fn layouts_whose_parts_overlap_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let wrong = [
            Layout {
                words_at: 4,
                ..LAYOUT
            },
            Layout {
                words: 1000,
                ..LAYOUT
            },
            Layout {
                data_at: 4096,
                ..LAYOUT
            },
        ];
        for (number, layout) in wrong.into_iter().enumerate() {
            let path = dir.path().join(number.to_string());
            assert!(
                MappedFile::create(&path, b"", layout).is_err(),
                "{layout:?}"
            );
        }
    }

    #[test]
    fn ranges_outside_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut map = MappedFile::create(&dir.path().join("map"), b"", LAYOUT).unwrap();
        assert!(map.prepare(0..16_385, 0..16).is_err());
        assert!(map.prepare(0..1, 0..17_000).is_err());
        map.fill(4096).unwrap();
    }
}
