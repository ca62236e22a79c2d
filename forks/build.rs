//! Compiles `parallel.c`. Only linking needs a BLAS, so that checks of the source need none.

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=parallel.c");
    println!("cargo::rerun-if-env-changed=PANNIER_FORKS_BLAS");
    let has_blas = env::var("PANNIER_FORKS_BLAS").as_deref() != Ok("none");
    let folder = env::var("OUT_DIR").expect("cargo says where");
    let object = Path::new(&folder).join("parallel.o");
    let mut compiler = Command::new(env::var("CC").unwrap_or_else(|_| "cc".to_owned()));
    compiler.args(["-O2", "-Wall", "-Wextra", "-fPIC", "-fopenmp", "-c", "parallel.c", "-o"]);
    compiler.arg(&object).args((!has_blas).then_some("-DWITHOUT_OPENBLAS"));
    let status = compiler.status().expect("a C compiler is installed");
    assert!(status.success(), "parallel.c compiles");
    println!("cargo::rustc-link-arg-bins={}", object.display());
    for library in ["openblas", "gomp"].into_iter().skip(usize::from(!has_blas)) {
        println!("cargo::rustc-link-arg-bins=-l{library}");
    }
}
