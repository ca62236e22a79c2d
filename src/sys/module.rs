//! The program file and libraries that make up this process (getauxval(3), dl_iterate_phdr(3)).
//!
//! Promises: what is listed was loaded when it was listed; what lies in the program itself is found
//! without a lock, so in forked children too.
//! Does not know: what the modules contain.
#![expect(unsafe_code, reason = "reads the tables of loaded files")]

use std::ffi::{c_int, c_void};

/// Bytes of a build-id that are kept; linkers make 8, 16 or 20.
pub(crate) const BUILD_ID_LEN: usize = 20;

/// What a linker put into a file to tell it from every other; zeros behind a shorter one.
pub(crate) type BuildId = [u8; BUILD_ID_LEN];

/// A loaded file.
#[derive(Clone, Debug)]
pub(crate) struct Module {
    /// What addresses in the file are relative to.
    pub(crate) base: usize,
    /// None in a file that was linked without.
    pub(crate) build_id: Option<BuildId>,
    pub(crate) segments: Vec<LoadedSegment>,
}

/// A range of addresses that a file occupies.
#[derive(Clone, Debug)]
pub(crate) struct LoadedSegment {
    pub(crate) start: usize,
    pub(crate) len: usize,
    pub(crate) readable: bool,
    pub(crate) executable: bool,
}

impl LoadedSegment {
    /// Whether `len` bytes at `address` lie within.
    pub(crate) fn contains(&self, address: usize, len: usize) -> bool {
        let end = self.start.saturating_add(self.len);
        address >= self.start && address.checked_add(len).is_some_and(|stop| stop <= end)
    }
}

/// The first answer to `question`, asked of the program itself and then of the libraries.
///
/// Of the libraries the linker is asked, under a lock of its own that fork(2) leaves as it is: in a
/// forked child it may be held for ever, by a thread of the parent's. So the program comes first, and for
/// it the linker is not asked.
pub(crate) fn find<T>(question: impl Fn(&Module) -> Option<T>) -> Option<T> {
    program().as_ref().and_then(&question).or_else(|| loaded().iter().find_map(&question))
}

/// The program itself.
pub(crate) fn program() -> Option<Module> {
    told_by_the_kernel().or_else(|| loaded().into_iter().next())
}

/// The build-id of the program itself.
pub(crate) fn program_build_id() -> Option<BuildId> {
    program()?.build_id
}

/// The program, by the table that the kernel has told this process of (getauxval(3)). No lock is taken.
/// `None` in a file that does not say where it was linked to lie.
fn told_by_the_kernel() -> Option<Module> {
    // SAFETY: the call only looks up a number.
    let table = unsafe { libc::getauxval(libc::AT_PHDR) };
    // SAFETY: as above.
    let count = unsafe { libc::getauxval(libc::AT_PHNUM) };
    let (table, count) = (usize::try_from(table).ok()?, usize::try_from(count).ok()?);
    let headers = std::ptr::with_exposed_provenance::<Header>(table);
    if headers.is_null() || !headers.is_aligned() {
        return None;
    }
    // SAFETY: the kernel, or the loader that the program was started through, has put the program's own
    // table there, of so many entries, and it stays as long as the process.
    let headers = unsafe { std::slice::from_raw_parts(headers, count) };
    let own = headers.iter().find(|header| header.p_type == libc::PT_PHDR)?;
    let base = table.checked_sub(usize::try_from(own.p_vaddr).ok()?)?;
    Some(module_of(base, headers))
}

/// All modules by the linker's list; the first is the program itself.
fn loaded() -> Vec<Module> {
    let mut modules: Vec<Module> = Vec::new();
    let list: *mut Vec<Module> = &raw mut modules;
    // SAFETY: `note_module` is what the call wants, and gets `list` back, which outlives the call.
    unsafe { libc::dl_iterate_phdr(Some(note_module), list.cast()) };
    modules
}

#[cfg(target_pointer_width = "64")]
type Header = libc::Elf64_Phdr;
#[cfg(target_pointer_width = "32")]
type Header = libc::Elf32_Phdr;

extern "C" fn note_module(
    info: *mut libc::dl_phdr_info,
    _size: libc::size_t,
    list: *mut c_void,
) -> c_int {
    // SAFETY: the linker passes a valid record for the time of this call.
    let info = unsafe { &*info };
    // SAFETY: `loaded` passed a list that nobody else uses meanwhile.
    let list = unsafe { &mut *list.cast::<Vec<Module>>() };
    if info.dlpi_phdr.is_null() {
        return 0;
    }
    // SAFETY: the record's table has that many entries and is mapped as long as the module is.
    let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
    list.push(module_of(usize::try_from(info.dlpi_addr).unwrap_or(usize::MAX), headers));
    0
}

/// What the table of a file says that is mapped from `base` on.
fn module_of(base: usize, headers: &[Header]) -> Module {
    let mut module = Module { base, build_id: None, segments: Vec::new() };
    let mut notes = Vec::new();
    for header in headers {
        let start = base.wrapping_add(usize::try_from(header.p_vaddr).unwrap_or(usize::MAX));
        let len = usize::try_from(header.p_memsz).unwrap_or(0);
        match header.p_type {
            libc::PT_LOAD => module.segments.push(LoadedSegment {
                start,
                len,
                readable: header.p_flags & libc::PF_R != 0,
                executable: header.p_flags & libc::PF_X != 0,
            }),
            libc::PT_NOTE => notes.push((start, len)),
            _ => {}
        }
    }
    let is_mapped = |(start, len): &(usize, usize)| {
        module.segments.iter().any(|segment| segment.readable && segment.contains(*start, *len))
    };
    module.build_id = notes.into_iter().filter(is_mapped).find_map(|(start, len)| {
        let notes = std::ptr::with_exposed_provenance::<u8>(start);
        // SAFETY: the notes lie within a segment that is mapped readable (filter above).
        find_build_id(unsafe { std::slice::from_raw_parts(notes, len) })
    });
    module
}

/// Looks through ELF notes: lengths of name and contents, type, name, contents, each padded to four.
fn find_build_id(mut notes: &[u8]) -> Option<BuildId> {
    const NT_GNU_BUILD_ID: u32 = 3;
    loop {
        let (head, rest) = notes.split_first_chunk::<12>()?;
        let word = |at: usize| -> Option<u32> {
            let bytes = head.get(at..at + 4)?;
            Some(bytemuck::pod_read_unaligned(bytes))
        };
        let name_len = usize::try_from(word(0)?).ok()?;
        let contents_len = usize::try_from(word(4)?).ok()?;
        let name = rest.get(..name_len)?;
        let rest = rest.get(name_len.checked_next_multiple_of(4)?..)?;
        let contents = rest.get(..contents_len)?;
        if word(8)? == NT_GNU_BUILD_ID && name == b"GNU\0" && !contents.is_empty() {
            let mut id = [0; BUILD_ID_LEN];
            let kept = contents.len().min(BUILD_ID_LEN);
            id[..kept].copy_from_slice(&contents[..kept]);
            return Some(id);
        }
        notes = rest.get(contents_len.checked_next_multiple_of(4)?..)?;
    }
}
