//! Pools that trust no worker: what a worker can still change, and what it cannot do any more.
#![expect(unsafe_code, reason = "workers that are hostile, and the system calls that confine them")]

#[expect(dead_code, reason = "each test program uses its part")]
mod common;

use std::fs::File;
use std::io::Write;

use common::{Gate, MARK, Marked, failure, join, pass, refusal, signal};
use pannier::{
    Buffer, Error, ExitStatus, Hardening, Pool, PoolBuilder, StartFailure, StartMethod, TaskError,
};
use rustix::process::Signal;

pannier::premain!();

const LEN: usize = 1 << 20;

fn hardened(hardening: Hardening) -> PoolBuilder {
    Pool::builder().workers(1).hardened(hardening)
}

/// A large result.
fn double(bytes: Buffer<u8>) -> Buffer<u8> {
    [&bytes[..], &bytes[..]].concat().into()
}

// ── results ──────────────────────────────────────────────────────────────────

/// A result that its worker writes over as soon as it is let through the gate, and tells so.
fn written_over(gate: String) -> Buffer<u8> {
    let mut result = pannier::alloc::<u8>(LEN).expect("memory");
    result.fill(1);
    let place = result.as_mut_ptr().expose_provenance();
    std::thread::spawn(move || {
        pass(&gate);
        let start = std::ptr::with_exposed_provenance_mut::<u8>(place);
        for at in 0..LEN {
            // SAFETY: not sound, and that is the point: the memory is mapped writable, and was a
            // result. It stays mapped, since the parent keeps the block or its segment.
            unsafe { start.wrapping_add(at).write_volatile(2) };
        }
        pass(&gate);
    });
    result.freeze()
}

/// What of a result is left as it was when its worker has written over it.
fn untouched(pool: &Pool) -> usize {
    let gate = Gate::new();
    let result = join(pool.submit(written_over, gate.name())).expect("a result");
    assert!(result.iter().all(|&byte| byte == 1) && result.is_shared());
    drop(gate.arrival());
    // The worker has written when it comes again.
    let _written = gate.arrival();
    // SAFETY: within the buffer. Volatile, since it may have changed.
    let byte = |at| unsafe { result.as_ptr().wrapping_add(at).read_volatile() };
    (0..LEN).filter(|&at| byte(at) == 1).count()
}

#[test]
fn a_worker_changes_a_result_that_it_has_sent_only_where_it_is_trusted() {
    let trusting = Marked::new(1);
    assert_eq!(untouched(&trusting), 0, "else this test proves nothing");
    trusting.end();
    let pool = Marked::build(hardened(Hardening::new()));
    assert_eq!(untouched(&pool), LEN);
    pool.end();
}

#[test]
fn a_result_is_copied_once_and_counted_and_can_be_sent_on_without_another_copy() {
    let pool = Marked::build(hardened(Hardening::new()));
    let make = |len: usize| {
        let mut result = pannier::alloc::<u8>(len).expect("memory");
        result.fill(3);
        result.freeze()
    };
    let result = join(pool.submit(make, LEN)).expect("a result");
    let copies = |pool: &Pool| (pool.stats().payload_copies, pool.stats().payload_copied_bytes);
    assert_eq!(copies(&pool), (1, LEN as u64));
    let sum = |bytes: Buffer<u8>| bytes.iter().map(|&byte| u64::from(byte)).sum::<u64>();
    assert_eq!(join(pool.submit(sum, result)).ok(), Some(3 * LEN as u64));
    assert_eq!(copies(&pool), (1, LEN as u64));
    pool.end();
}

#[test]
fn an_input_that_comes_back_is_not_copied() {
    let pool = Marked::build(hardened(Hardening::new()));
    let mut input = pool.alloc::<u8>(LEN).expect("memory");
    input.fill(7);
    let input = input.freeze();
    let place = input.as_ptr();
    let back = join(pool.submit(|bytes: Buffer<u8>| bytes.slice(5..), input)).expect("a result");
    assert_eq!(back.as_ptr().addr(), place.addr() + 5);
    assert_eq!(pool.stats().payload_copies, 0);
    pool.end();
}

#[test]
fn results_of_a_map_are_copied_too() {
    let pool = Marked::build(hardened(Hardening::new()));
    let items = (0..20_u8).map(|item| Buffer::from(vec![item; 100_000]));
    for (item, result) in pool.map(double, items).enumerate() {
        assert!(result.expect("a result").iter().all(|&byte| usize::from(byte) == item));
    }
    assert!(pool.stats().payload_copied_bytes >= 20 * 200_000);
    pool.end();
}

#[test]
fn without_room_in_shared_memory_results_are_copied_to_the_heap() {
    let pool = Marked::build(hardened(Hardening::new()).memory_limit(LEN as u64));
    let make = |len: usize| {
        let mut result = pannier::alloc::<u8>(len).expect("memory");
        result.fill(9);
        result.freeze()
    };
    let result = join(pool.submit(make, LEN)).expect("a result");
    assert!(!result.is_shared() && result.iter().all(|&byte| byte == 9));
    pool.end();
}

#[test]
fn a_pool_that_trusts_no_worker_puts_nothing_into_files() {
    let refused = hardened(Hardening::new()).spill(std::env::temp_dir()).build();
    assert!(matches!(refused, Err(Error::SpillHardened)), "{refused:?}");
}

// ── what is given up ─────────────────────────────────────────────────────────

/// What /proc says of all threads of this process, one line of it.
fn said_of_threads(line: &str) -> Vec<String> {
    let threads = std::fs::read_dir("/proc/self/task").expect("threads");
    let texts = threads.map(|thread| {
        let status = thread.expect("a thread").path().join("status");
        std::fs::read_to_string(status).expect("its status")
    });
    let value = |text: String| {
        let found = text.lines().find_map(|said| said.strip_prefix(line)).expect("the line");
        found.trim().to_owned()
    };
    texts.map(value).collect()
}

/// No new privileges in any thread; opaque; no core files.
fn has_given_up(_: ()) -> (bool, bool, bool) {
    let no_new = said_of_threads("NoNewPrivs:");
    let core = rustix::process::getrlimit(rustix::process::Resource::Core);
    let dumpable = rustix::process::dumpable_behavior().expect("prctl");
    (
        no_new.len() > 1 && no_new.iter().all(|said| said == "1"),
        dumpable == rustix::process::DumpableBehavior::NotDumpable,
        (core.current, core.maximum) == (Some(0), Some(0)),
    )
}

#[test]
fn workers_gain_no_rights_and_leave_no_traces_by_whatever_method_they_start() {
    for method in [StartMethod::Spawn, StartMethod::ForkServer] {
        let mut pool = Marked::build(hardened(Hardening::new()).start_method(method));
        assert_eq!(join(pool.submit(has_given_up, ())).ok(), Some((true, true, true)));
        // The one after it as well.
        let gone = pool.worker_pids();
        signal(gone[0], Signal::KILL);
        pool.is_whole_without(&gone);
        assert_eq!(join(pool.submit(has_given_up, ())).ok(), Some((true, true, true)));
        pool.end();
    }
    let trusting = Marked::new(1);
    assert_eq!(
        join(trusting.submit(has_given_up, ())).map(|(no_new, ..)| no_new).ok(),
        Some(false)
    );
    trusting.end();
}

#[test]
fn a_worker_cannot_open_more_files_than_it_may() {
    let pool = Marked::build(hardened(Hardening::new().open_files(40)));
    let open = |()| {
        let files: Vec<_> = std::iter::from_fn(|| File::open("/dev/null").ok()).take(100).collect();
        files.len()
    };
    let opened = join(pool.submit(open, ())).expect("a task");
    assert!((20..40).contains(&opened), "{opened}");
    // It is given memory, by a descriptor, all the same.
    let length = |bytes: Buffer<u8>| bytes.len();
    assert_eq!(join(pool.submit(length, vec![0; LEN].into())).ok(), Some(LEN));
    pool.end();
}

#[test]
fn a_worker_cannot_have_more_addresses_than_it_may() {
    const GIB: usize = 1 << 30;
    let pool = Marked::build(hardened(Hardening::new().address_space(8 * GIB as u64)));
    let reserve = |bytes: usize| Vec::<u8>::new().try_reserve_exact(bytes).is_ok();
    assert_eq!(join(pool.submit(reserve, GIB)).ok(), Some(true));
    assert_eq!(join(pool.submit(reserve, 9 * GIB)).ok(), Some(false));
    pool.end();
}

#[test]
fn a_worker_that_writes_a_file_longer_than_it_may_dies_of_that() {
    let folder = std::env::temp_dir().join(common::unique("file"));
    std::fs::create_dir(&folder).expect("a folder");
    let pool = Marked::build(hardened(Hardening::new().file_size(1000)).attempts(1));
    let write = |(file, len): (std::path::PathBuf, usize)| {
        let written = File::create(file).and_then(|mut file| file.write_all(&vec![0; len]));
        written.is_ok()
    };
    let file = folder.join("file");
    assert_eq!(join(pool.submit(write, (file.clone(), 1000))).ok(), Some(true));
    let TaskError::WorkerDied(death) = failure(pool.submit(write, (file, 1001))) else {
        panic!("it dies")
    };
    assert!(matches!(death.status, ExitStatus::Signaled { signal: libc::SIGXFSZ, .. }), "{death}");
    pool.end();
    std::fs::remove_dir_all(folder).expect("a folder");
}

#[test]
fn limits_that_are_tighter_already_stay() {
    // The soft one too; there is enough for the tests beside this one.
    let here = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let softer = rustix::process::Rlimit { current: here.maximum.map(|most| most - 1), ..here };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, softer).expect("any may");
    let pool = Marked::build(hardened(Hardening::new().open_files(u64::MAX)));
    let limits = |(): ()| {
        let limits = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        (limits.current, limits.maximum)
    };
    assert_eq!(join(pool.submit(limits, ())).ok(), Some(limits(())));
    pool.end();
}

// ── what is run last ─────────────────────────────────────────────────────────

/// Forbids this thread, and all that come of it, whatever landlock can forbid of files.
fn no_files(_: ()) {
    #[repr(C)]
    struct Ruleset {
        handled_files: u64,
    }
    const ALL_OF_THE_FIRST_VERSION: u64 = (1 << 13) - 1;
    let ruleset = Ruleset { handled_files: ALL_OF_THE_FIRST_VERSION };
    let (create, restrict) = (libc::SYS_landlock_create_ruleset, libc::SYS_landlock_restrict_self);
    // SAFETY: the call reads the ruleset, which is as long as is said.
    let fd = unsafe { libc::syscall(create, &raw const ruleset, size_of::<Ruleset>(), 0) };
    assert!(fd >= 0, "{}", std::io::Error::last_os_error());
    // SAFETY: numbers only.
    let done = unsafe { libc::syscall(restrict, fd, 0) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    // SAFETY: the descriptor was made above, and is nobody else's.
    unsafe { libc::close(fd.try_into().expect("a descriptor")) };
}

fn can_open(file: String) -> bool {
    let here = File::open(&file).is_ok();
    let on_a_thread = std::thread::spawn(move || File::open(file).is_ok());
    here || on_a_thread.join().expect("a thread")
}

#[test]
fn a_worker_without_files_works_and_its_successor_has_none_either() {
    for method in [StartMethod::Spawn, StartMethod::ForkServer] {
        let builder = hardened(Hardening::new().confine(no_files)).start_method(method);
        let mut pool = Marked::build(builder);
        for _ in 0..2 {
            assert_eq!(join(pool.submit(can_open, "/etc/passwd".into())).ok(), Some(false));
            let doubled = join(pool.submit(double, vec![1; LEN].into())).expect("a result");
            assert_eq!(doubled.len(), 2 * LEN);
            let gone = pool.worker_pids();
            signal(gone[0], Signal::KILL);
            pool.is_whole_without(&gone);
        }
        pool.end();
    }
}

/// The system calls that [`Hardening::confine`] says a worker needs, with those of memory, locks and time.
const NEEDED: &[libc::c_long] = &[
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_write,
    libc::SYS_ppoll,
    libc::SYS_poll,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_madvise,
    libc::SYS_close,
    libc::SYS_fcntl,
    libc::SYS_fstat,
    libc::SYS_dup2,
    libc::SYS_clone3,
    libc::SYS_kill,
    libc::SYS_exit_group,
];

/// Ends this process at whatever other call it makes, but `socket`, which it is merely denied.
fn few_calls(_: ()) {
    let of_threads = [
        libc::SYS_futex,
        libc::SYS_brk,
        libc::SYS_mprotect,
        libc::SYS_mremap,
        libc::SYS_clock_gettime,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigaction,
        libc::SYS_rt_sigreturn,
        libc::SYS_sigaltstack,
        libc::SYS_set_robust_list,
        libc::SYS_rseq,
        libc::SYS_gettid,
        libc::SYS_getpid,
        libc::SYS_sched_yield,
        libc::SYS_sched_getaffinity,
        libc::SYS_getrandom,
        libc::SYS_prctl,
        libc::SYS_exit,
    ];
    let part = |code: u32, k: u32| libc::sock_filter {
        code: code.try_into().expect("a code"),
        jt: 0,
        jf: 0,
        k,
    };
    let number_of = |call: libc::c_long| u32::try_from(call).expect("a number");
    // Skips one instruction if the number is another.
    let if_it_is = |call| libc::sock_filter {
        jf: 1,
        ..part(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, number_of(call))
    };
    let end = |verdict| part(libc::BPF_RET | libc::BPF_K, verdict);
    let mut program = vec![part(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0)];
    for &call in NEEDED.iter().chain(&of_threads) {
        program.extend([if_it_is(call), end(libc::SECCOMP_RET_ALLOW)]);
    }
    let denied = libc::SECCOMP_RET_ERRNO | libc::EPERM.unsigned_abs();
    program.extend([if_it_is(libc::SYS_socket), end(denied)]);
    program.push(end(libc::SECCOMP_RET_KILL_PROCESS));
    let program = libc::sock_fprog {
        len: program.len().try_into().expect("a short program"),
        filter: program.as_mut_ptr(),
    };
    let (filter, place) = (libc::SECCOMP_SET_MODE_FILTER, &raw const program);
    // SAFETY: the call reads the program, whose length and place are told.
    let done = unsafe { libc::syscall(libc::SYS_seccomp, filter, 0, place) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}

#[test]
fn a_worker_needs_no_more_system_calls_than_are_documented() {
    for method in [StartMethod::Spawn, StartMethod::ForkServer] {
        let builder = hardened(Hardening::new().confine(few_calls)).start_method(method);
        // The text of a backtrace is read from the program's file.
        let pool = Marked::build(builder.attempts(1).env_remove("RUST_BACKTRACE"));
        let denied = |()| std::os::unix::net::UnixDatagram::unbound().unwrap_err().raw_os_error();
        assert_eq!(join(pool.submit(denied, ())).ok(), Some(Some(libc::EPERM)));
        // Memory comes and goes, contexts, panics, threads.
        for len in [10, 100_000, 10 << 20] {
            let doubled = join(pool.submit(double, vec![1; len].into())).expect("a result");
            assert_eq!(doubled.len(), 2 * len);
        }
        let shared = vec![5_u64; 100_000];
        let sums = pool.map_with(shared, |shared, item: u64| shared.len() as u64 + item, 0..100);
        assert_eq!(sums.map(|sum| sum.expect("a sum")).sum::<u64>(), 100 * 100_000 + 4950);
        let panicked = failure(pool.submit(|()| -> u32 { panic!("a planned panic") }, ()));
        assert!(matches!(panicked, TaskError::Panicked(_)), "{panicked}");
        let on_a_thread = |x: u32| std::thread::spawn(move || x + 1).join().expect("a thread");
        assert_eq!(join(pool.submit(on_a_thread, 1)).ok(), Some(2));
        assert_eq!(pool.stats().workers_died, 0);
        let forbidden = failure(pool.submit(|()| File::open("/etc/passwd").is_ok(), ()));
        let TaskError::WorkerDied(death) = forbidden else { panic!("{forbidden}") };
        assert!(
            matches!(death.status, ExitStatus::Signaled { signal: libc::SIGSYS, .. }),
            "{death}"
        );
        pool.end();
    }
}

#[test]
fn a_worker_that_cannot_be_confined_is_not_used_and_says_why() {
    for method in [StartMethod::Spawn, StartMethod::ForkServer] {
        let mark = common::unique("mark");
        let confine = |()| panic!("no landlock here");
        let builder = hardened(Hardening::new().confine(confine)).start_method(method);
        let failed = refusal(builder.env(MARK, &mark));
        let StartFailure::Initializer(panicked) = &failed.cause else { panic!("{failed}") };
        assert_eq!(panicked.message, "no landlock here");
        assert!(failed.to_string().contains("no landlock here"), "{failed}");
        assert!(common::marked(&mark).is_empty());
    }
}

#[test]
fn a_long_reason_in_any_language_is_told() {
    let confine = |()| panic!("{}", "нет".repeat(5_000));
    let failed = refusal(hardened(Hardening::new().confine(confine)));
    let StartFailure::Initializer(panicked) = &failed.cause else { panic!("{failed}") };
    assert!(panicked.message.starts_with("нетнет"), "{failed}");
}

#[test]
fn what_confines_a_worker_runs_before_its_initializer() {
    let can = |file: String| {
        if can_open(file) { Err("it could open a file") } else { Ok(()) }
    };
    let builder = hardened(Hardening::new().confine(no_files));
    let pool = Marked::build(builder.try_initializer(can, "/etc/passwd".to_owned()));
    assert_eq!(join(pool.submit(u32::count_ones, 7)).ok(), Some(3));
    pool.end();
}

#[test]
fn limits_under_which_no_worker_can_live_are_a_failed_start() {
    let failed = refusal(hardened(Hardening::new().address_space(1 << 20)));
    assert!(matches!(failed.cause, StartFailure::Exited), "{failed}");
}
