//! The `usbpipe` program.

fn main() -> std::process::ExitCode {
    usbpipe::cli::main()
}
