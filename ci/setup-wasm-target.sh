#!/usr/bin/env bash
# Makes a WebAssembly target buildable where `rustup target add` cannot fetch it.
#
#   ci/setup-wasm-target.sh [wasm32-unknown-unknown | wasm32v1-none]
#   ci/setup-wasm-target.sh --debian TARGET     skip the first two ways
#
# Ways, cheapest first:
#   1. the toolchain in use can build for the target, or an earlier run left one that can;
#   2. `rustup target add`;
#   3. Debian's compiler: its packages are unpacked into a cache (nothing is installed), the target's standard library
#      is built from Debian's source package of the same version, and rustup gets the result as toolchain
#      `kubenet-wasm`. The compiler of one version does not take the library of another, so both are Debian's.
#
# Messages go to stderr. The one line on stdout is the command to build with: `cargo` or `cargo +kubenet-wasm`.
#
# KUBENET_WASM_CACHE: where way 3 keeps its files (half a gigabyte; three times that while it works).
set -euo pipefail

linked=kubenet-wasm
cache=${KUBENET_WASM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/kubenet/wasm-toolchain}

say() { printf 'setup-wasm-target: %s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }

skip_cheap=no
if [ "${1-}" = --debian ]; then
  skip_cheap=yes
  shift
fi
target=${1-wasm32-unknown-unknown}
case $target in
  # What the library is built as: std with all it stands on, or what there is without an operating system.
  wasm32-unknown-unknown) package=sysroot features=panic-unwind,backtrace,compiler-builtins-mem ;;
  wasm32v1-none) package=alloc features=compiler-builtins-mem ;;
  *) die "not a WebAssembly target that kubenet builds for: $target" ;;
esac

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# works RUSTC…: compiles and links a module for the target. A list of installed targets would not tell: it says nothing of
# linked toolchains, and a listed target can lack its linker.
works() {
  cat >"$scratch/probe.rs" <<'RUST'
#![cfg_attr(target_os = "none", no_std)]
extern crate alloc;
#[cfg(target_os = "none")]
mod none {
    struct Nothing;
    unsafe impl core::alloc::GlobalAlloc for Nothing {
        unsafe fn alloc(&self, _: core::alloc::Layout) -> *mut u8 { core::ptr::null_mut() }
        unsafe fn dealloc(&self, _: *mut u8, _: core::alloc::Layout) {}
    }
    #[global_allocator]
    static NOTHING: Nothing = Nothing;
    #[panic_handler]
    fn panic(_: &core::panic::PanicInfo<'_>) -> ! { loop {} }
}
#[unsafe(no_mangle)]
pub extern "C" fn count(n: u32) -> usize { (0..n).collect::<alloc::vec::Vec<u32>>().len() }
RUST
  rm -f "$scratch/probe.wasm"
  "$@" --edition 2024 -O --crate-type cdylib --target "$target" -o "$scratch/probe.wasm" "$scratch/probe.rs" \
    >"$scratch/probe.log" 2>&1 &&
    [ "$(head -c 4 "$scratch/probe.wasm" | od -An -tx1 | tr -d ' \n')" = 0061736d ]
}

finish() { # COMMAND MESSAGE
  say "$2"
  printf '%s\n' "$1"
  exit 0
}

command -v rustc >/dev/null && command -v cargo >/dev/null || die "no rustc and cargo on PATH"
have_rustup() { command -v rustup >/dev/null; }
has_linked() { have_rustup && rustup toolchain list | grep -q "^$linked\( \|\$\)"; }

# --- 1, 2 ---
if [ $skip_cheap = no ]; then
  if works rustc; then
    finish cargo "$(rustc --version) builds for $target"
  fi
  if has_linked && works rustc "+$linked"; then
    finish "cargo +$linked" "toolchain $linked builds for $target"
  fi
  have_rustup || die "rustup is needed to add $target"
  # A download server may neither answer nor refuse.
  if timeout "${KUBENET_RUSTUP_TIMEOUT:-180}" rustup target add "$target" >&2 && works rustc; then
    finish cargo "$(rustc --version) has got $target"
  fi
  say "rustup could not add $target; trying Debian's packages"
fi

# --- 3 ---
have_rustup || die "rustup is needed to link the toolchain"
for tool in apt-get apt-cache dpkg-deb flock tar; do
  command -v "$tool" >/dev/null || die "$tool is missing: the last way needs a Debian machine"
done

cargo_bin=$(rustup which cargo)
host=$(rustc -vV | sed -n 's/^host: //p')
lld=$(rustc --print sysroot)/lib/rustlib/$host/bin/rust-lld
[ -x "$lld" ] || die "the toolchain in use has no rust-lld"

mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9 # a second run waits, and finds the work done

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; elif command -v sudo >/dev/null; then sudo -n "$@"; else return 1; fi
}
newest() { apt-cache show --no-all-versions rustc-web 2>/dev/null | sed -n 's/^Version: //p' | head -n 1; }
# Old package lists offer a compiler that is older than the library allows.
msrv=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$(dirname "$0")/../Cargo.toml")
new_enough() { [ -n "$(newest)" ] && dpkg --compare-versions "$(newest)" ge "${msrv:-0}"; }
if ! new_enough; then
  say "apt-get update"
  as_root apt-get update -qq >&2 || true
fi
new_enough || die "Debian's rustc-web ($(newest)) is older than $msrv"

version=$(newest)
base=$cache/$(printf %s "$version" | tr -c 'A-Za-z0-9.+~-' _)
tc=$base/toolchain

fetch() { (cd "$base/debs" && apt-get -qq -o APT::Sandbox::User=root download "$@" >&2); }
deb() { printf '%s\n' "$base"/debs/"$1"_*.deb | head -n 1; }
# depends PACKAGE PATTERN: the first dependency of a fetched package that matches.
depends() { dpkg-deb -f "$(deb "$1")" Depends | tr ',|' '\n\n' | sed 's/(.*//; s/ //g' | grep -m 1 -E "$2"; }

if [ ! -e "$base/unpacked" ]; then
  rm -rf "$base"
  mkdir -p "$base/debs" "$base/root" "$tc/bin" "$tc/lib/rustlib/$host/bin"
  say "fetching Debian's compiler, $version"
  fetch "rustc-web=$version" "libstd-rust-web-dev=$version" "rust-web-src=$version" || {
    as_root apt-get update -qq >&2 || true
    die "a package could not be fetched; the lists are fresh now, so run this again"
  }
  driver=$(depends libstd-rust-web-dev '^libstd-rust-web-[0-9]')
  fetch "$driver=$version"
  llvm=$(depends "$driver" '^libllvm[0-9]')
  fetch "$llvm"
  for name in rustc-web libstd-rust-web-dev "$driver" "$llvm"; do
    dpkg-deb -x "$(deb "$name")" "$base/root"
  done
  # Of the source, the standard library. Its vendored crates lack those that only tests name, without which cargo does not
  # resolve; the crate registry has them, and the library's own lock file pins them.
  dpkg-deb --fsys-tarfile "$(deb rust-web-src)" |
    tar -x -C "$base/root" --wildcards --exclude './usr/src/rustc-*/library/vendor' './usr/src/rustc-*/library'

  # Laid out as rustup expects it. rustup starts a compiler with LD_LIBRARY_PATH at its lib.
  mv "$base/root/usr/bin/rustc" "$base/root/usr/bin/rustdoc" "$tc/bin/"
  find "$base/root/usr/lib" -name 'librustc_driver-*.so' -exec mv -t "$tc/lib" {} +
  find "$base/root/usr/lib" -name 'libLLVM.so.*' -type f -exec mv -t "$tc/lib" {} +
  mv "$base/root/usr/lib/rustlib/$host/lib" "$tc/lib/rustlib/$host/"
  library=$(echo "$base/root/usr/src"/rustc-*/library)
  [ -f "$library/sysroot/Cargo.toml" ] || die "Debian's source package has no library/sysroot"
  mv "$library" "$base/library"

  # Most machines have what LLVM links to; what is missing is unpacked beside it.
  for _ in 1 2 3; do
    missing=$(LD_LIBRARY_PATH=$tc/lib ldd "$tc/lib/"libLLVM.so.* | sed -n 's/^\s*\(\S*\) => not found.*/\1/p')
    [ -n "$missing" ] || break
    for so in $missing; do
      case $so in
        libz3.so*) name=libz3-4 ;;
        libedit.so*) name=libedit2 ;;
        libbsd.so*) name=libbsd0 ;;
        libmd.so*) name=libmd0 ;;
        libxml2.so*) name=libxml2 ;;
        libicu*.so*) name=libicu72 ;;
        libffi.so*) name=libffi8 ;;
        libzstd.so*) name=libzstd1 ;;
        libtinfo.so*) name=libtinfo6 ;;
        *) die "LLVM needs $so, which this machine lacks" ;;
      esac
      fetch "$name"
      dpkg-deb -x "$(deb "$name")" "$base/extra"
    done
    find "$base/extra" -name '*.so.*' -exec cp -Pn -t "$tc/lib" {} +
  done
  rm -rf "$base/debs" "$base/root" "$base/extra"
  : >"$base/unpacked"
fi

# Of the toolchain in use: a linked toolchain without a cargo borrows one that need not fit. Made anew each time, for rustup
# may have moved them since.
ln -sfn "$lld" "$tc/lib/rustlib/$host/bin/rust-lld"
ln -sfn "$cargo_bin" "$tc/bin/cargo"

if [ ! -e "$base/built-$target" ]; then
  export LD_LIBRARY_PATH=$tc/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
  commit=$("$tc/bin/rustc" -vV | sed -n 's/^commit-hash: //p')
  say "building $package for $target with $("$tc/bin/rustc" --version)"
  # The library uses unstable features (RUSTC_BOOTSTRAP); its private crates are marked as such; embedded bitcode serves
  # link-time optimisation; no path of this machine gets into panic messages.
  (
    cd "$base/library"
    unset RUSTFLAGS CARGO_BUILD_RUSTFLAGS CARGO_BUILD_TARGET CARGO_TARGET_DIR CARGO_BUILD_TARGET_DIR \
      RUSTC_WRAPPER CARGO_BUILD_RUSTC_WRAPPER RUSTC_WORKSPACE_WRAPPER RUSTUP_TOOLCHAIN
    RUSTC_BOOTSTRAP=1 RUSTC=$tc/bin/rustc \
      CARGO_ENCODED_RUSTFLAGS=$(printf -- '-Zforce-unstable-if-unmarked\x1f-Cembed-bitcode=yes\x1f--remap-path-prefix=%s=/rustc/%s/library\x1f--remap-path-prefix=%s=/cargo' \
        "$base/library" "$commit" "${CARGO_HOME:-$HOME/.cargo}") \
      "$cargo_bin" build --quiet --release --target "$target" --locked --manifest-path "$package/Cargo.toml" \
      --target-dir "$base/target" --features "$features" >&2
  ) || die "the standard library did not build"
  mkdir -p "$tc/lib/rustlib/$target/lib"
  cp "$base/target/$target/release/deps/"*.rlib "$tc/lib/rustlib/$target/lib/"
  rm -rf "$base/target"
  : >"$base/built-$target"
fi

if [ "$(readlink -f "$(rustup run "$linked" rustc --print sysroot 2>/dev/null || echo /nowhere)")" != "$(readlink -f "$tc")" ]; then
  rustup toolchain uninstall "$linked" >/dev/null 2>&1 || true # only ever a link
  rustup toolchain link "$linked" "$tc" >&2
fi
works rustc "+$linked" || { cat "$scratch/probe.log" >&2; die "the toolchain $linked does not build for $target"; }
finish "cargo +$linked" "toolchain $linked, $(rustc "+$linked" --version), builds for $target"
