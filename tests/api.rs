//! The public surface: every name, as a user would write it. What compiles here must go on to.

use std::fmt::{Debug, Display};
use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use pannier::{
    Buffer, BufferMut, BufferSink, BufferSource, CodecError, Data, Decoder, DescriptorFault,
    Encoder, Error, ExitStatus, FrameError, FrameReader, Function, JoinHandle, LimitKind, Limits,
    Map, MetaFault, Panicked, Phase, Placement, Pod, Pool, PoolBuilder, RemoteError, SegmentFault,
    Shutdown, StartFailed, StartFailure, StartMethod, Stats, TaskError, TaskInfo, ValueError,
    Worker, WorkerDied,
};

pannier::premain!();

fn is_error<E: std::error::Error + Send + Sync + 'static>() {}
fn travels_between_threads<T: Send + Sync + Unpin>() {}
fn is_plain<T: Debug + Send + Sync>() {}

#[test]
fn errors_are_errors_that_travel_between_threads() {
    is_error::<Error>();
    is_error::<CodecError>();
    is_error::<FrameError>();
    is_error::<TaskError>();
    is_error::<ValueError>();
    is_error::<Panicked>();
    is_error::<WorkerDied>();
    is_error::<StartFailed>();
    is_error::<StartFailure>();
    is_error::<RemoteError>();
}

#[test]
fn types_have_the_bounds_that_users_need() {
    travels_between_threads::<Pool>();
    travels_between_threads::<JoinHandle<std::rc::Rc<()>>>();
    travels_between_threads::<Buffer<f64>>();
    travels_between_threads::<BufferMut<f64>>();
    is_plain::<Stats>();
    is_plain::<Worker>();
    is_plain::<TaskInfo>();
    is_plain::<Limits>();
    is_plain::<(Encoder, Decoder, Placement, StartMethod, Shutdown, Phase, ExitStatus)>();
    is_plain::<(DescriptorFault, LimitKind, MetaFault, SegmentFault)>();
    fn map_is_send<I: Send, R: Send>() {
        fn send<T: Send>() {}
        send::<Map<I, R>>();
    }
    map_is_send::<std::vec::IntoIter<u8>, u8>();
    fn copies<T: Copy + Eq>() {}
    copies::<(StartMethod, Shutdown, Placement, Phase, ExitStatus, FrameError, Limits)>();
}

fn buffers<T: Pod + PartialEq + Debug + Send + Sync>(items: Vec<T>) -> Result<(), Error> {
    let buffer: Buffer<T> = items.into();
    let _: Buffer<T> = Buffer::copy_from_slice(&buffer);
    let _: Buffer<T> = Buffer::from_owner(buffer.to_vec());
    let _: Buffer<T> = buffer.slice(..).clone();
    let _: Buffer<T> = buffer.iter().copied().collect();
    let _: Buffer<T> = (&*buffer).into();
    let _: (&[T], bool, Buffer<T>) = (buffer.as_ref(), buffer.is_shared(), Buffer::default());
    assert_eq!((&buffer).into_iter().count(), buffer.len());
    let exclusive: Result<BufferMut<T>, Buffer<T>> = buffer.clone().try_into_mut();
    assert!(exclusive.is_err());
    let mut exclusive: BufferMut<T> = buffer.clone().into_mut()?;
    let _: &mut [T] = exclusive.as_mut();
    exclusive.truncate(1);
    let frozen: Buffer<T> = exclusive.freeze();
    let _: Result<Buffer<u8>, Buffer<T>> = frozen.clone().try_cast::<u8>();
    let bytes: Buffer<u8> = frozen.into_bytes();
    let bytes: Bytes = bytes.into();
    let _: Buffer<u8> = bytes.into();
    let _: BufferMut<T> = pannier::alloc(3)?;
    let _: Buffer<T> = pannier::alloc_zeroed::<T>(3)?.into();
    Ok(())
}

#[test]
fn buffers_convert_as_documented() {
    buffers(vec![1_u32, 2, 3]).unwrap();
    let _: Buffer<u8> = [1, 2].into();
    assert_eq!(format!("{:?}", Buffer::from([7_u8])), "Buffer { len: 1, place: Heap, items: [7] }");
    let many = Buffer::from(vec![0_u8; 1 << 20]);
    assert!(format!("{many:?}").len() < 200);
}

#[test]
fn frames_are_written_and_read_by_all_doors() -> Result<(), CodecError> {
    let value = (String::from("x"), Buffer::from(vec![1.5_f64; 1024]));
    type Value = (String, Buffer<f64>);
    let frame: Vec<u8> = pannier::to_vec(&value)?;
    let _: Value = pannier::from_slice(&frame)?;
    let _: Value = pannier::from_bytes(Bytes::from(frame))?;
    let encoder = Encoder::new().threshold(1).compact(true).checksum(true).tag(9);
    let frame = encoder.to_vec(&value)?;
    let limits = Limits::default().frame_len(1 << 30).meta_len(1 << 20).buffers(9).depth(9);
    let decoder = Decoder::new().limits(limits.repeat_bytes(0).segments(false));
    let _: Value = decoder.from_slice(&frame)?;
    let _: Value = decoder.from_bytes(frame.into())?;
    let mut stream = Vec::new();
    pannier::to_writer(&mut stream, &value)?;
    encoder.to_writer(&mut stream, &value)?;
    let mut rest = &stream[..];
    let _: Option<Value> = pannier::from_reader(&mut rest)?;
    let _: Option<Value> = decoder.verify(true).from_reader(&mut rest)?;
    let mut reader = FrameReader::new(Limits::default());
    reader.space()[..64].copy_from_slice(&stream[..64]);
    reader.advance(64);
    let next: Result<Option<Bytes>, FrameError> = reader.next_frame();
    assert_eq!(next, Ok(None));
    let mut buffers: Vec<Buffer<u8>> = Vec::new();
    let metadata = Encoder::new().to_parts(&value, &mut buffers)?;
    let again: Value = Decoder::new().from_parts(&metadata, &mut buffers)?;
    assert_eq!(again.1.as_ptr(), value.1.as_ptr());
    let sink: &mut dyn BufferSink = &mut buffers;
    assert_eq!(sink.place_slice(b"lent")?, Placement::OutOfBand);
    let source: &mut dyn BufferSource = &mut buffers;
    source.fetch(0)?;
    let _: std::io::Error = CodecError::Frame(FrameError::BadMagic).into();
    let _: Error = FrameError::BadMagic.into();
    Ok(())
}

#[test]
#[expect(unsafe_code, reason = "maps a file, which is unsafe for its caller")]
fn files_are_written_read_and_mapped() -> Result<(), CodecError> {
    let path = std::env::temp_dir().join(format!("pannier-api-{}", std::process::id()));
    pannier::write_file(&path, "free")?;
    let _: String = pannier::read_file(&path)?;
    // SAFETY: the file is this test's own, and is not written to while it is mapped.
    let _: String = unsafe { pannier::map_file(&path) }?;
    Encoder::new().write_file(&path, "with options")?;
    let _: String = Decoder::new().read_file(&path)?;
    // SAFETY: as above.
    let _: String = unsafe { Decoder::new().map_file(&path) }?;
    std::fs::remove_file(&path)?;
    Ok(())
}

fn builder() -> PoolBuilder {
    let builder = Pool::builder().workers(2).start_method(StartMethod::Spawn).attempts(2);
    builder.memory_limit(1 << 30).env("A", "b").env_remove("C")
}

#[test]
fn pools_do_what_their_signatures_say() -> Result<(), Error> {
    let pool: Pool = builder().build()?;
    let mut handle: JoinHandle<u32> = pool.submit(|x: u32| x + 1, 1);
    let (_, _, _): (u64, bool, bool) = (handle.id(), handle.is_finished(), handle.cancel());
    let _: Option<Result<u32, TaskError>> = handle.join_timeout(Duration::from_secs(60));
    let _: Option<Result<u32, TaskError>> = pool.submit(|x: u32| x, 1).try_join();
    pool.submit(|x: u32| x, 1).kill();
    fn is_future<F: Future<Output = Result<u32, TaskError>>>(_: &F) {}
    is_future(&handle);
    let map: Map<std::ops::Range<u64>, u64> = pool.map(|x: u64| x, 0..9);
    let _: Vec<_> = map.chunk_size(2).in_flight(4).attempts(3).collect();
    let context = vec![1, 2];
    let with = pool.map_with(context, |all: &Vec<u64>, x: u64| all[0] + x, 0..3);
    assert_eq!(with.collect::<Result<Vec<_>, _>>()?, [1, 2, 3]);
    let _: (BufferMut<f32>, BufferMut<f32>) = (pool.alloc(4)?, pool.alloc_zeroed(4)?);
    let _: (usize, Vec<u32>, Stats) = (pool.workers(), pool.worker_pids(), pool.stats());
    assert!(pannier::worker().is_none());
    pool.shutdown(Shutdown::Graceful, Duration::from_secs(60))?;
    Ok(())
}

/// One function for two types.
fn twice<T: std::ops::Add<Output = T> + Copy>(x: T) -> T {
    x + x
}

#[test]
fn functions_closures_and_generic_ones_travel() -> Result<(), Error> {
    fn runs<A: Data, R: Data + PartialEq + Debug>(
        pool: &Pool,
        f: impl Function<A, R>,
        args: A,
        expected: R,
    ) {
        assert_eq!(pool.submit(f, args).join().unwrap(), expected);
    }
    let pool = builder().build()?;
    runs(&pool, u32::count_ones, 7, 3);
    runs(&pool, twice::<u64>, 21, 42);
    runs(&pool, twice::<f32>, 1.5, 3.0);
    runs(&pool, |(a, b): (String, usize)| a.repeat(b), ("ab".into(), 2), "abab".into());
    runs(&pool, |x: i8| if x < 0 { Err("negative".to_owned()) } else { Ok(x) }, 1, Ok(1));
    let failed = |path: String| std::fs::read(path).map(|_| ()).map_err(RemoteError::new);
    let error = pool.submit(failed, "/nowhere".into()).join()?.unwrap_err();
    fn shows<T: Display>(_: &T) {}
    shows(&error);
    Ok(())
}

#[test]
fn a_handle_is_a_future_for_any_executor() -> Result<(), Error> {
    use std::sync::Arc;
    use std::task::{Context, Poll, Wake, Waker};
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let pool = builder().build()?;
    let mut handle = std::pin::pin!(pool.submit(|x: u32| x * 2, 21));
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    loop {
        match handle.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(result) => break assert_eq!(result?, 42),
            Poll::Pending => std::thread::park_timeout(Duration::from_secs(60)),
        }
    }
    Ok(())
}
