//! Runs a command under a user-mode kernel: `cargo run -p kubenet-linux --example guest -- /usr/sbin/ipvsadm -Sn`.

use std::error::Error;
use std::time::Duration;

use kubenet_linux::guest::Guest;

fn main() -> Result<(), Box<dyn Error>> {
    let command: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = command.iter().map(String::as_str).collect();
    let folder = std::env::temp_dir().join(format!("kubenet-guest-{}", std::process::id()));
    std::fs::create_dir(&folder)?;
    let ended = Guest::find().and_then(|guest| guest.run(&words, &folder, Duration::from_secs(60)));
    std::fs::remove_dir_all(&folder)?;
    let ended = ended?;
    eprint!("{}", ended.output);
    std::process::exit(ended.status.into());
}
