//! Memory of weights, which every pass reads from beginning to end. It lies in pages of 2 MiB where the system has
//! them: those of the usual size are more than a core has in mind, and to look one up takes longer than to read it.

use std::{
    marker::PhantomData,
    num::NonZeroUsize,
    ops::Deref,
    ptr::NonNull,
    slice,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use bytemuck::Pod;
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, munmap};

/// A large page.
const PAGE: usize = 1 << 21;
/// What a slice begins with: a cache line.
const LINE: usize = 64;

/// Pages that several slices lie in.
struct Pages {
    map: NonNull<u8>,
    length: usize,
    /// From the first whole page on, as much as was asked for.
    start: NonNull<u8>,
    room: usize,
}

// SAFETY: it owns the memory, and gives each part of it to one slice.
unsafe impl Send for Pages {}
// SAFETY: as above; nothing in it changes.
unsafe impl Sync for Pages {}

impl Pages {
    /// Of `room` bytes at least, all of them zero.
    ///
    /// # Panics
    /// Where the system has no memory, as wherever memory is allocated.
    fn new(room: usize) -> Self {
        let room = room.checked_next_multiple_of(PAGE);
        let length = room.and_then(|room| room.checked_add(PAGE));
        let sizes = room.zip(length.and_then(NonZeroUsize::new));
        let (room, length) = sizes.expect("weights that fit into memory");
        // SAFETY: it is new memory, at a place that the system chooses.
        let map = unsafe {
            let rights = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
            mmap_anonymous(None, length, rights, MapFlags::MAP_PRIVATE)
        };
        let map = map.expect("memory for weights").cast::<u8>();
        let before = map.as_ptr().align_offset(PAGE);
        // SAFETY: what is mapped is longer than what is asked for by a page.
        let start = unsafe { map.add(before) };
        #[cfg(target_os = "linux")]
        {
            use nix::sys::mman::{MmapAdvise::MADV_HUGEPAGE, madvise};
            // A kernel without such pages says so, and they are of the usual size.
            // SAFETY: it only says of what size pages should be.
            let _ = unsafe { madvise(start.cast(), room, MADV_HUGEPAGE) };
        }
        Self {
            map,
            length: length.get(),
            start,
            room,
        }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: it was mapped with this length, and no slice holds on to it any more.
        let _ = unsafe { munmap(self.map.cast(), self.length) };
    }
}

/// The pages that the next slices lie in, and how much of them is given away. They live as long as slices in them do.
static LAST: Mutex<(Weak<Pages>, usize)> = Mutex::new((Weak::new(), 0));

/// As many bytes, all of them zero, that nobody else has.
fn take(bytes: usize) -> (Arc<Pages>, usize) {
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    let (pages, used) = &mut *last;
    let start = used.next_multiple_of(LINE);
    if let Some(pages) = pages.upgrade()
        && pages
            .room
            .checked_sub(start)
            .is_some_and(|rest| bytes <= rest)
    {
        *used = start + bytes;
        return (pages, start);
    }
    let new = Arc::new(Pages::new(bytes));
    // Those with more room are for the next.
    let left = pages.upgrade().map_or(0, |pages| pages.room - *used);
    if new.room - bytes > left {
        *last = (Arc::downgrade(&new), bytes);
    }
    (new, 0)
}

/// Values that are written once.
pub struct Stored<T> {
    pages: Arc<Pages>,
    /// In bytes.
    start: usize,
    count: usize,
    values: PhantomData<T>,
}

impl<T: Pod> Stored<T> {
    /// `count` values, which `fill` writes: they are zero before.
    pub fn new(count: usize, fill: impl FnOnce(&mut [T])) -> Self {
        const { assert!(align_of::<T>() <= LINE, "slices begin with cache lines") };
        let bytes = count.checked_mul(size_of::<T>());
        let (pages, start) = take(bytes.expect("weights that fit into memory"));
        // SAFETY: as many bytes from there on belong to this slice alone, begin with a cache line, which is the largest
        // alignment, and are zero, which every plain type may be.
        let values = unsafe {
            let first = pages.start.add(start).cast::<T>();
            slice::from_raw_parts_mut(first.as_ptr(), count)
        };
        fill(values);
        Self {
            pages,
            start,
            count,
            values: PhantomData,
        }
    }
}

impl<T: Pod> Deref for Stored<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: as in `new`; it is written no more.
        unsafe {
            let first = self.pages.start.add(self.start).cast::<T>();
            slice::from_raw_parts(first.as_ptr(), self.count)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn slices_are_zero_and_do_not_share_memory() {
        let counts = [0, 1, 63, 64, 1000, PAGE / 4 + 3, 7, PAGE, 5];
        let fill = |seed: u32| {
            let slices = counts.iter().zip(seed..).map(|(&count, number)| {
                Stored::new(count, |values: &mut [u32]| {
                    assert!(values.iter().all(|&value| value == 0));
                    values.fill(number);
                })
            });
            slices.collect::<Vec<_>>()
        };
        let check = |slices: &[Stored<u32>], seed: u32| {
            for ((slice, count), number) in slices.iter().zip(counts).zip(seed..) {
                assert_eq!(slice.len(), count);
                assert!(slice.iter().all(|&value| value == number));
                assert_eq!(slice.as_ptr().align_offset(LINE), 0);
            }
        };
        thread::scope(|scope| {
            for seed in [100, 200, 300] {
                scope.spawn(move || {
                    let first = fill(seed);
                    // Memory that was given back is not given away with what was in it.
                    drop(fill(seed + 50));
                    let second = fill(seed + 20);
                    check(&first, seed);
                    check(&second, seed + 20);
                });
            }
        });
    }
}
