//! A guest's memory, as the difference from that of a new guest.

use std::ops::Range;
use std::sync::Arc;

/// What is compared and copied as a whole.
pub(crate) const PAGE: usize = 4096;

/// As many bytes of a page are told as a whole: 64 blocks, a bit for each.
pub(crate) const BLOCK: usize = PAGE / 64;

static ZEROS: [u8; PAGE] = [0; PAGE];

/// The memory of a new instance.
pub(crate) struct BaseMemory {
    /// Whole pages, without empty ones at the end.
    bytes: Vec<u8>,
    /// CRC-32 of the bytes.
    sum: u32,
}

impl BaseMemory {
    pub(crate) fn new(memory: &[u8]) -> Self {
        let used = memory.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
        let bytes = memory.get(..used.next_multiple_of(PAGE)).unwrap_or(memory).to_vec();
        BaseMemory { sum: crc32fast::hash(&bytes), bytes }
    }

    pub(crate) fn sum(&self) -> u32 {
        self.sum
    }

    #[inline]
    fn page(&self, number: usize) -> &[u8] {
        let start = number.saturating_mul(PAGE);
        self.bytes.get(start..start.saturating_add(PAGE)).unwrap_or(&ZEROS)
    }
}

/// All of a guest's memory at one moment.
pub(crate) struct MemoryDelta {
    base: Arc<BaseMemory>,
    size: usize,
    /// The pages that differ from those of the base, in order.
    numbers: Vec<u32>,
    /// Their content.
    bytes: Vec<u8>,
}

impl MemoryDelta {
    /// Outside of what is used it is taken for what it was.
    pub(crate) fn of(base: &Arc<BaseMemory>, memory: &[u8], used: Range<u32>) -> Self {
        let mut delta =
            MemoryDelta { base: Arc::clone(base), size: memory.len(), numbers: Vec::new(), bytes: Vec::new() };
        let (first, end) = (used.start as usize / PAGE, (used.end as usize).div_ceil(PAGE));
        for (number, page) in memory.chunks_exact(PAGE).enumerate().take(end).skip(first) {
            if page != base.page(number) {
                delta.numbers.push(number as u32);
                delta.bytes.extend_from_slice(page);
            }
        }
        delta
    }

    /// From pages that somebody else names; `None` when they make no sense. Each page is what it differs by.
    pub(crate) fn from_differences(
        base: &Arc<BaseMemory>,
        size: u64,
        numbers: Vec<u32>,
        mut bytes: Vec<u8>,
    ) -> Option<Self> {
        const WASM_PAGE: usize = 1 << 16;
        let size = usize::try_from(size).ok().filter(|size| size % WASM_PAGE == 0)?;
        let ordered = numbers.iter().zip(numbers.iter().skip(1)).all(|(a, b)| a < b);
        let inside = numbers.last().is_none_or(|last| (*last as usize) < size / PAGE);
        if !ordered || !inside || bytes.len() != numbers.len() * PAGE || size < base.bytes.len() {
            return None;
        }
        for (number, page) in numbers.iter().zip(bytes.chunks_exact_mut(PAGE)) {
            page.iter_mut().zip(base.page(*number as usize)).for_each(|(byte, before)| *byte ^= before);
        }
        Some(MemoryDelta { base: Arc::clone(base), size, numbers, bytes })
    }

    /// Appends the pages: the number of each, which of its blocks differ, and by what they do. Most pages differ in few
    /// blocks, and most of those in few bytes.
    pub(crate) fn put_differences(&self, out: &mut Vec<u8>) {
        for (number, page) in self.pages() {
            let blocks = page.chunks_exact(BLOCK).zip(self.base.page(number as usize).chunks_exact(BLOCK));
            let differs = |block: &(usize, (&[u8], &[u8]))| block.1.0 != block.1.1;
            let mask = blocks.clone().enumerate().filter(differs).fold(0u64, |mask, (i, _)| mask | 1 << i);
            out.extend_from_slice(&number.to_le_bytes());
            out.extend_from_slice(&mask.to_le_bytes());
            for (_, (block, before)) in blocks.enumerate().filter(differs) {
                out.extend(block.iter().zip(before).map(|(byte, before)| byte ^ before));
            }
        }
    }

    fn pages(&self) -> impl Iterator<Item = (u32, &[u8])> {
        self.numbers.iter().copied().zip(self.bytes.chunks_exact(PAGE))
    }

    pub(crate) fn base(&self) -> &BaseMemory {
        &self.base
    }

    /// Of the whole memory, in bytes.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    pub(crate) fn page_count(&self) -> usize {
        self.numbers.len()
    }

    /// Makes this the content of a new instance's memory; `None` when that is too small. `whole`: it need not be what
    /// the base is.
    pub(crate) fn put(&self, memory: &mut [u8], whole: bool) -> Option<()> {
        if whole {
            let (same, rest) = memory.get_mut(..self.size)?.split_at_mut_checked(self.base.bytes.len())?;
            same.copy_from_slice(&self.base.bytes);
            rest.fill(0);
        }
        for (number, page) in self.pages() {
            let start = number as usize * PAGE;
            memory.get_mut(start..start + PAGE)?.copy_from_slice(page);
        }
        Some(())
    }
}
